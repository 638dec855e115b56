"""Patient and study: compared over all instances of a series, and the checks of values that results copy."""
