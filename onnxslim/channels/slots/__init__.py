"""Slots: the channel indices of every tensor axis, how each op's rule relates them, and solving those relations.

``op`` is what a rule sees of its node, ``slot_tracing`` allocates slots and collects ties, ``solve`` and ``equations``
turn relations into units: arrays in, arrays out. ``shape_tracking`` follows sizes through shape arithmetic.
"""
