"""Candela's own tables in the engine's database, by Alembic: one revision a change, in `versions`, oldest first.

A released revision is never edited. The engine's tables are DBOS's, which brings them up itself.
"""
