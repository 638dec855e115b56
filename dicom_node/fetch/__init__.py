"""Images on demand: asking an archive what it has, and bringing it into the node or a folder."""
