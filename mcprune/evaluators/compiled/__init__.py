"""Compiled kernels of the fused evaluators."""
