"""A package of the project's own, imported by `train.py`."""
