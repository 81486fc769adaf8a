"""The classifiers: an MLP of any widths, and the few layers that pruned models are made of."""
