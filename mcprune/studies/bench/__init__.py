"""The comparison of the chain with other methods."""
