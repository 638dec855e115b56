"""From stored pixel data to values: decoding, compressed frame headers, the Modality LUT."""
