"""What is minimised: objectives over the outputs of a gated classifier, each with one reduction."""
