"""How loaders lay out their folders, one module each."""
