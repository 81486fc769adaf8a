"""What sites cost: parameters, multiply-accumulates, latency."""
