"""What a model found: the answer, measured regions, contours, codes, and the UIDs derived from a run."""
