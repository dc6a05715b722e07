"""The supervisor's API: the dispatcher of commands, the status, the event log, and the client."""
