"""Data sets: found, checked, split and scaled; numpy arrays in, numpy arrays out.

`load.py` opens whatever the user names, `split.py` makes the parts, `scale.py` learns the scaling on the
training part, `prepare.py` does the last two in one call. Nothing is re-exported here, so that a module and
the function in it never stand for each other.
"""
