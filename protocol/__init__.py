"""What crosses a process boundary, and the rules of the handoff: no I/O, no clock, no threads."""
