"""Checkpoints of runs: written, opened again, and resumed."""
