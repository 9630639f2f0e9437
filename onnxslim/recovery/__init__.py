"""Winning back what compression lost, from the model's own uncompressed self. The only room that imports torch.

torch is an extra: nothing here imports it before a function that needs it is called.
"""
