"""Importance measures: how much each site matters, from one look at the classifier; and masks made of them."""
