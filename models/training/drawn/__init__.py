"""Objects other than heads, drawn in three dimensions and imaged as by a scanner: fruit, phantoms, other bodies."""
