"""Removing series that were delivered."""
