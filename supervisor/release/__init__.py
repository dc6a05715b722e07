"""Releases: what one holds, and where its code comes from."""
