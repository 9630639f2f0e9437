"""The rewrite rules, one a file; :mod:`onnxslim.simplify.table` says which run and in what order."""
