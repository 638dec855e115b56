"""The running service: receives series, runs jobs, delivers results."""
