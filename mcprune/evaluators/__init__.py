"""Evaluators: the losses of many candidates, canonical or fast, behind one interface."""
