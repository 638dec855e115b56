"""STOW-RS: instances that come by DICOMweb."""
