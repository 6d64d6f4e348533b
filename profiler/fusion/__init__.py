"""Which operators a delegate runs as one kernel."""
