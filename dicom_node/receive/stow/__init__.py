"""STOW-RS: reception of instances by DICOMweb."""
