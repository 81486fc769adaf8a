"""Many candidates to many losses: evaluators behind one contract, canonical and fast."""
