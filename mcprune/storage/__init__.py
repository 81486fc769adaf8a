"""Files of a run: folder layout, atomic writes, checkpoints, the event log, the pruned model."""
