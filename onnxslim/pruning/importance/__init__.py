"""What says that a channel matters: criteria, the order they give, and error curves along that order."""
