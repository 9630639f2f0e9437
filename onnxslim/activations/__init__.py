"""What a model's inner tensors hold: observed in one pass, kept from part to part of it, compared with a reference."""
