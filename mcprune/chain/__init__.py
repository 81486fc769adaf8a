"""The engine: a Markov chain over pruner weights, in numpy and numba, never torch.

`state` holds what the next step needs, `moves` proposes candidates ahead of the chain, `engine` decides among them; `ranks` does both
for masks of the n largest weights. `philox`, `budget` and `accept` document parts that `kernels` compiles; `schedules` and `diagnostics`
are plain Python.
"""

# Names of the moves, in the order of their numbers; here, so that reading options compiles nothing.
KINDS = ("uniform", "block", "site", "exchange", "toggle", "informed")
