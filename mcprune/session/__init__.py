"""A run: its configuration, its loop, its events, its folder, and the way in from Python."""
