"""From an image file to the array that a vision model takes."""
