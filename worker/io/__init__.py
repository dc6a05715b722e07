"""A worker's sockets, clock and files: what it has of the operating system."""
