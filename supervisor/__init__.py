"""The daemon, its command line, releases and history."""
