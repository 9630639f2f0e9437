"""What the data say of a layer's inputs: second moments, regression rows, and Optimal Brain Surgeon on them."""
