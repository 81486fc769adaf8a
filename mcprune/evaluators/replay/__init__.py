"""Replayed forward passes of any model: what runs before the first changed site returns what it returned before."""
