"""When a series is complete, and its dispatch to jobs."""
