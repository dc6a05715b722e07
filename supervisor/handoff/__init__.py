"""Drives one handoff: carries out what `protocol.handoff` commands."""
