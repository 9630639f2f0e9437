"""Weights that are stored in fewer bits than they are computed in, and how they are stored: codes and half floats."""
