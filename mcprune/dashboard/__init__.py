"""The live page: a run in the main thread, its page served by another thread."""
