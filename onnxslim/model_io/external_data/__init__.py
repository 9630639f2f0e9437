"""Weights in files beside a model: which may be read, how they are written, and one file for several models."""
