"""Finders of sub-blocks, one file for each way in which they are written."""
