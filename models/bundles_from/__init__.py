"""Bundles whose weights another installed package brings."""
