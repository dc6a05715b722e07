"""The command line: every verb of `neverblink`."""
