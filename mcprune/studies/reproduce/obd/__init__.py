"""The statements of a post on Optimal Brain Damage, measured."""
