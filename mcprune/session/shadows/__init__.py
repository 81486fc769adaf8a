"""`--fdr`: columns compete with their shadows before a run, which keeps those that win."""
