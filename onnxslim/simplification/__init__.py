"""Exact rewrites: the same function in fewer nodes, never in a larger file.

``step`` is the step as recipes call it; a rewrite is one file in ``rules`` and one row in ``rule_table``.
"""
