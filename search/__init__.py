"""Search spaces, accuracy and latency oracles, searchers and studies."""
