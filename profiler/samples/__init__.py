"""Networks made up to be measured: random structures of the kinds that real networks have."""
