"""Shared by the network services: associations, C-FIND, TLS, multipart bodies, DICOM files from the network."""
