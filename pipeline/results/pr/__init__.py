"""Grayscale Softcopy Presentation State."""
