"""What several network services share: associations, C-FIND, TLS, multipart bodies, DICOM files from outside."""
