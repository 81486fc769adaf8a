"""What the columns of a table are: features, targets, doubtful ones, and the task."""
