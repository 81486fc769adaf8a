"""Networks of fixed-point numbers for firmware: their bits, their costs in signed digits, and the chain that lowers these."""
