"""A space for tests of supernets, as a user writes it."""

SHALLOW = """
name = "shallow"
[[blocks]]
operator = "conv"
filters = 8
stride = 2
activation = "hard_swish"
[[blocks]]
repeat = 2
genes = "joint"
operator = "mbconv"
kernel = [3, 5]
expansion = [3, 6]
filters = 16
stride = 2
activation = "relu"
[[blocks]]
operator = "conv"
kernel = 1
filters = 64
activation = "hard_swish"
"""
"""Sixteen networks, whose supernet is prepared in seconds."""
