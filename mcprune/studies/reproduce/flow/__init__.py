"""The observations of a paper on gradient flow, measured."""
