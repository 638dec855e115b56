"""Key Object Selection."""
