"""The way out: one sender per kind of destination, all behind one Protocol."""
