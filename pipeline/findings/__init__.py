"""The findings of a model: the answer, measured regions, contours, codes, and the UIDs derived from a run."""
