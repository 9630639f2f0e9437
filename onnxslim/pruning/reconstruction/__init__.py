"""Layer-wise reconstruction of a pruned model: least squares towards what the original gave out."""
