"""The sub-commands of `candela`, one module for each group."""
