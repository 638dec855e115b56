"""Secondary Capture: overlays, and the page of a refusal."""
