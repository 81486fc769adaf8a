"""Names of the moves, in the order of their numbers; apart from `moves`, so that reading options compiles nothing."""

KINDS = ("uniform", "block", "site", "exchange", "toggle", "informed")
