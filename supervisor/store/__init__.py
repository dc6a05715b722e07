"""The state directory of a bot: who it belongs to, and what keeps it whole."""
