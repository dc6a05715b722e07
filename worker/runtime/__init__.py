"""How a worker's process begins and ends."""
