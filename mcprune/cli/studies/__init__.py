"""The commands of studies: bench, sweep, reproduce."""
