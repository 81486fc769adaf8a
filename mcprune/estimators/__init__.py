"""scikit-learn, skorch and Lightning."""
