"""Scores of masks by fresh classifiers that have not seen the rows which they score."""
