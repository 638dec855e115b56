"""Settings: one typed tree, read once from candela.toml and CANDELA_* variables."""
