"""Folders that models are deployed as: which ONNX files they hold and what a loader takes each for, compressed together.

``layouts`` are the loaders' conventions, one module each; ``folder_files`` lists what is there and reads configuration files
without ever leaving the folder; ``folder_writer`` writes a folder whole or not at all; ``folder_run`` goes over the models.
"""
