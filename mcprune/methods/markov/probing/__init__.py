"""Scores of sites before each block: from toggling some of them, or from the slopes of the loss."""
