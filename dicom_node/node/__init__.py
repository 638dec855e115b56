"""The processes of a node: its roles, their supervisor, the receiver, reload and backup."""
