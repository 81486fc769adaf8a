"""Data sets: loaded, checked, split and scaled; numpy arrays in, numpy arrays out.

`load.py` opens what the user names and ends in a `Dataset` (`base.py`), `prepare.py` splits and scales it, `new_rows.py`
reads rows for prediction. Nothing is re-exported here, so that a module and a function never have one name.
"""
