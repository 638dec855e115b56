"""Running the pipeline: for `candela process` and for the workers; results on disk."""
