"""Parts of ``reach.py``: a result beside its original, what its user would accept, and the recipes done by hand."""
