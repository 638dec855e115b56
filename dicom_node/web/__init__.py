"""What the node offers by HTTP."""
