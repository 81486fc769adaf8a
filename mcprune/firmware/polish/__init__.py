"""The chain over signed digits: it lowers a fixed-point network to an exact budget, and every decision is by the network's true loss."""
