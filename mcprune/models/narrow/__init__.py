"""What is left of layers of which only some channels or hidden units are kept."""
