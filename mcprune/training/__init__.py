"""Backprop on the classifier: batches, steps, retraining, fine-tuning, distillation, metrics."""
