"""Between Candela's volumes and MONAI's images: reading from memory, grids, and the way back."""
