"""What is for the machine that serves: timing for a search elsewhere, choosing among files."""
