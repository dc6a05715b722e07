"""Worker processes: how they are started, and what they are given."""
