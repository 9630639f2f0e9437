"""Channels, blocks, ranks and weights that go, and the repair of what stays.

``step`` is the step as recipes call it; ``selection`` decides what goes, by ``importance`` and measured effects;
``reconstruction`` repairs; ``low_rank`` and ``sparsity`` are the other two ways to spend fewer weights.
"""
