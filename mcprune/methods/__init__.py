"""Ways to a mask behind one contract: the Markov chain and the gradient path; importance measures beside them later."""
