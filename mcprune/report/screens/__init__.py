"""What a run shows in a terminal: nothing, JSON lines, plain lines, or a live display."""
