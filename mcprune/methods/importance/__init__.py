"""Importance measures: scores of the sites of a classifier, and masks selected by them."""
