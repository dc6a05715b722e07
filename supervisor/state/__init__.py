"""The bot's state at a point of its journal: found, shown, compared, exported, and prepared for a restore."""
