"""The index's schema from release to release, by Alembic: one revision a change, in `versions`, oldest first.

A released revision is never edited. The rows can be told again by the files, but that takes reading the whole store, so
that an upgrade carries them over.
"""
