"""Inference: runs the pipeline for `candela process` and for the workers, and writes results to disk."""
