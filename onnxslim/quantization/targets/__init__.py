"""What each runtime runs in int8, and which of them this machine is."""
