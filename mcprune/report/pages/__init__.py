"""Whole report pages: of a run, and of a fixed-point network."""
