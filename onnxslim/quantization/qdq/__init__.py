"""QuantizeLinear and DequantizeLinear in a graph: fusion groups, their placement, and writing them."""
