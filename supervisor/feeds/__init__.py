"""Feeds: starts, watches, restarts and ends the processes that own the bot's connections to its sources."""
