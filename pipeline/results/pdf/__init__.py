"""Encapsulated PDF: the report as one page."""
