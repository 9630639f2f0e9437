"""The data room: many sources, one :class:`~onnxslim.data.samples.Samples`.

``sources.open_samples`` reads a source and checks it against the model, ``split`` divides samples into the sets of
the design (fit, tune, confirm), ``columns`` streams the rows. A new source is one small file with ``accepts`` and
``read`` and a row in the table of ``sources``.
"""
