"""Masks for every number of kept sites of a list from one run, how good each is, and how many are enough."""
