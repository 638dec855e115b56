"""Storage commitment in both roles, and the ledger on disk between them."""
