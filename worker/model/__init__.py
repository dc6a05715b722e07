"""What a bot is made of: state cells, settings, commands, decisions, timers, inbox and their types."""
