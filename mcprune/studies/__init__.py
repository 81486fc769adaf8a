"""Comparisons made of many runs: bench, sweep, reproduce."""
