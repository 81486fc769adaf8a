"""Figures in the style of `sklearn.inspection`: objects that hold what they draw, with matplotlib or plotly."""
