"""Parametric Map of the heat map."""
