"""What a network in fixed point costs: digits, adders, look-up tables, EBOPs."""
