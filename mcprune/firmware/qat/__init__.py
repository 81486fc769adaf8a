"""Quantisation-aware training of fixed-point networks: rounding with a straight-through gradient and trained numbers of bits."""
