"""How what is no code is stored in a quantised file: constants in as few bytes as they need, short names."""
