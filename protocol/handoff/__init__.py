"""The handoff: the supervisor's view of one deployment, as a state machine without I/O or clock."""
