"""A small real world to swap a bot's code in."""
