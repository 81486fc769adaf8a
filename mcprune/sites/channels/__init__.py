"""Groups of channels that can be dropped together: what a network does to channels, the groups, and the choice among them."""
