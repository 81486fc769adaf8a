"""Chains over masks and their proposals: walks by a model of the loss."""
