"""Heads of detectors before they are decoded: their channels, where their cells lie, and what is judged of them."""
