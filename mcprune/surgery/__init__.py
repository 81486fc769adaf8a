"""The physically smaller model: cutting, folding, saving and loading without pickle."""
