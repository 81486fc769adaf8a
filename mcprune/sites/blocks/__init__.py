"""Attention and feed-forward sub-blocks of transformers: how they are found, gated and counted."""
