"""Durable work on DBOS: workflows, workers and their life locks."""
