"""Everything that can be known of a training before it waits in a queue."""
