"""The gradient path: gates that backprop trains together with the classifier."""
