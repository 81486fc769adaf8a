"""The statements of the slides, measured."""
