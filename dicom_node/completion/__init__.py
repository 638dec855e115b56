"""Completion of series, and their dispatch to jobs."""
