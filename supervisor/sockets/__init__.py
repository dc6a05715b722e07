"""The supervisor's ZeroMQ sockets."""
