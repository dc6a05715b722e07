"""What clients of the supervisor ask: the dispatcher of commands, status, the event log, and the client."""
