"""Puts an ordinary script on neverblink: reads it, finds its loop and its state, and writes the smallest change."""
