"""States: what a model keeps from one step of a sequence for the next, whose it is, and what it starts from."""
