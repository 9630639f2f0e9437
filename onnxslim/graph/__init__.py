"""Facts about a model, no edits: constants, shapes, cost."""
