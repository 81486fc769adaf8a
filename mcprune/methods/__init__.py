"""Ways to a mask behind one contract: the Markov chain now, the gradient path and importance measures beside it later."""
