"""Preprocessing: from a volume to a network's input and back, by MONAI. Only this room of the core imports torch."""
