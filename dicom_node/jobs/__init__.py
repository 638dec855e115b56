"""Durable jobs on DBOS: workflows, workers, life locks, circuit breakers, status."""
