"""mcprune chooses which parts of a neural network to keep by a gradient-free Markov chain."""
