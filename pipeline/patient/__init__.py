"""Whose series it is: patient and study compared over all instances, and the gate that copied values pass."""
