"""Weights alone in a format each, by what the outputs lose for the bytes that it saves."""
