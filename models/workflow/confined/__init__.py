"""What a bundle's own code may do: guarded, confined by Landlock, its modules and its errors kept apart."""
