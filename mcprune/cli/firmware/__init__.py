"""Commands for fixed-point networks."""
