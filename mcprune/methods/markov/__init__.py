"""The Markov chain as a way to a mask."""
