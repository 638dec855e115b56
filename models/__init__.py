"""Models as MONAI bundles: registry, runtime, explanation and training."""
