"""The chain over signed digits: compiled moves and the integer state of every row."""
