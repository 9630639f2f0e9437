"""From a model to its channel units: one walk over the nodes, labels for the slots, and the units as plain data."""
