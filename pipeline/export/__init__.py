"""Export: NIfTI for research, and de-identification by PS3.15 annex E."""
