"""Tests: a room for each of the three folders, and `whole` for real processes."""
