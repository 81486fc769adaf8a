"""The engine: a Markov chain over pruner weights, in numpy and numba, never torch.

`state` holds what the next step needs, `moves` proposes candidates ahead of the chain, `engine` decides among
them; `philox`, `budget` and `accept` are the faces of the parts that `kernels` compiles; `schedules` and
`diagnostics` are plain Python.
"""
