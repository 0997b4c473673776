"""Models by name: in the frameworks, and as plain modules."""
