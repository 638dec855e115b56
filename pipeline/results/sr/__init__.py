"""Structured reports after TID 1500."""
