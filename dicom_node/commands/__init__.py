"""The sub-commands of `candela`, one module a group."""
