"""Bring a mask to its budget between two blocks: a count of sites, or exact counts and costs."""
