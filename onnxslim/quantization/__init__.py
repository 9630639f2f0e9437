"""int8, int4, codebooks and float16 that the runtime really runs.

``step`` is the step as recipes call it; ``scheme_selection`` chooses among four schemes, a folder each: ``static``
(QDQ, calibrated), ``dynamic``, ``weight_only`` and ``float16``. ``numerics`` is arrays in, arrays out; ``targets`` says
what each runtime supports, ``conformance`` executes those claims.
"""
