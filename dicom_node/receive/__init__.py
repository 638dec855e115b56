"""The way in: listener, durable store, index and completion of series."""
