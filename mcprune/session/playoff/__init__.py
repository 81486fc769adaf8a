"""The playoff of the finalists of a search: fresh classifiers compare their masks."""
