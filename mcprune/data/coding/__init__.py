"""Columns with gaps or categories as columns of numbers."""
