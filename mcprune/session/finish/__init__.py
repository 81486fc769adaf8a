"""After the search: the small model, its retraining, and what it is compared with."""
