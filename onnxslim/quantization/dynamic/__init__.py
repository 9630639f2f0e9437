"""The dynamic scheme: int8 linear layers whose inputs are quantised as they come; what transformers want."""
