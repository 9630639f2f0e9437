"""Which channels of a model live together, which may not go, and how they are removed.

Every tensor's axis consists of slots. Ops relate the slots of their inputs and outputs by a rule each (``rules/``);
what the rules join is a unit (``solve.py``), and removing units is one rewriter for all ops (``rewrite.py``). Nothing
here knows a topology: attention heads, channel shuffles, grouped convolutions and flattened features all follow from
the rules of Reshape, MatMul and their like.
"""
