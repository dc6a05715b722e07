"""Turns: how a tick, an event, a timer and a command become one frame each, and who leads."""
