"""Cheaper forms of a linear layer: two smaller ones in its place, and one in place of two."""
