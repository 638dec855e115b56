"""A MONAI bundle's own workflow, run on volumes in memory: preprocessing, inferer, network, postprocessing."""
