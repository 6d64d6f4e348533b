"""Describe networks, split them into kernels, and measure both on devices."""
