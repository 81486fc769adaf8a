"""Gates by rank: the mask is the n largest weights, and a move decides only where it changes that mask."""
