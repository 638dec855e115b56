"""Drawing: canvas, fonts, pictures of slices, multiplanar reformats, colours of the heat map."""
