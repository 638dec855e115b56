"""Reading DICOM files: the instances of one series, their attributes checked, each slice in classic form."""
