"""What can be told of a run before it starts, shared by preflight, training and testing."""
