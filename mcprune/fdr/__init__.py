"""A stated error rate: shadows of the columns, the classifiers that evaluate both, and the largest set within the rate."""
