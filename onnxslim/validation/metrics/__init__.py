"""Metrics, one table row each, and how a stream of batches becomes a figure with its interval."""
