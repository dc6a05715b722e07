"""Reading a journal: one reader, and on it verification, the audit, exports and recent ticks."""
