"""Retention: removal of delivered series."""
