"""Search over options with Optuna."""
