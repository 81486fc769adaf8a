"""Several processes of one run: shared evaluation and data-parallel training."""
