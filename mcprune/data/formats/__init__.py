"""Readers of one format each: tables, data frames, archives, images."""
