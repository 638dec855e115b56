"""Bringing a bundle into a folder of models: its files, its first candela block, its check on computed images."""
