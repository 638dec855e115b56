"""Fetching on demand: search an archive, and bring its images into the node or a folder."""
