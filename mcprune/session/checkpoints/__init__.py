"""Checkpoints of runs: written, and opened again."""
