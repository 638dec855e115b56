"""From a volume to a network's input and back, by MONAI; the only room of the core that imports torch."""
