"""Channels that go without changing a single output: what is known of them without data, and their exact removal."""
