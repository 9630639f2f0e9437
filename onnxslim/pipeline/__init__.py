"""Recipes carried out: the steps a recipe may name, the data they use, the task they are judged by, and the result."""
