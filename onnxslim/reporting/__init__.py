"""The report: one dict in, a page for people out. Pure functions; nothing is measured or read here.

``terminal.terminal`` makes rich renderables, ``markdown.markdown`` a CI job summary, ``html.html`` one self-contained
page. All three show the rows that ``figures.rows`` makes, so they cannot disagree.

The dict is the JSON of the contract, any part of which may be missing, plus:

- ``stages``: ``[{name, bytes, params, macs, median_ms, metric}]``, the original first; null where not measured.
- ``latency.rounds``: ``{original: [ms, …], result: [ms, …]}``, element i of both from the same round.
- ``layers``: ``[{name, op, sqnr_db, kernel, why}]`` in graph order; ``kernel`` is ``int8`` or ``float``, ``why`` says
  why a layer is float, ``sqnr_db`` null where it was not compared.
- ``measured``: ``{figure: how}`` with the keys of ``figures.HOW``, in place of what that table says.
- ``memory``: ``{original, result}``, peak bytes of one inference.
- ``download``: ``{original, result, encoding}``, bytes on the way to a browser, of targets that run there.
- ``oldest_runtime``: the oldest onnxruntime that loads the result.
- ``metadata``: ``{key: value}`` about the run: machine, versions, seed, the command to repeat it.
"""
