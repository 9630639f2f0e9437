"""Facts about a model, constants, shapes, cost, and the one editor that changes it (:mod:`onnxslim.graph.editor`)."""
