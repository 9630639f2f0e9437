"""The options of the commands, and what people write as values."""
