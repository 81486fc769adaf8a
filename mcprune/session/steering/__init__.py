"""Who changes a run while it goes on, and who watches it: controllers, knobs, replays, callbacks."""
