"""Change and watch a run between its blocks: controllers, knobs, replays, callbacks."""
