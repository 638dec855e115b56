"""The dashboard and the REST API: what happens in the node, and why. Its process only reads the store."""
