"""What samples of masks say: substitutes and their costs, the set of good masks."""
