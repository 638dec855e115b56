"""Things that are no head, drawn in three dimensions and imaged as a scanner would: fruit, phantoms, other bodies."""
