"""Gates trained by backprop as a way to a mask."""
