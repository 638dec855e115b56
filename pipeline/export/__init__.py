"""Other ways out: NIfTI for research, and de-identification after PS3.15 annex E."""
