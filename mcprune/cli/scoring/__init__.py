"""The commands that score: sites by a measure, evaluators by their speed."""
