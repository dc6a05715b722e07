"""The rules by which one bot runs on at most one of several hosts. No I/O and no clock."""
