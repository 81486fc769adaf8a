"""Training of small perceptrons in compiled code: backprop and AdamW of many nets in one call."""
