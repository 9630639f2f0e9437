"""The rewrite rules, one a file; :mod:`onnxslim.simplification.rule_table` says which run and in what order."""
