"""The bot's limits. They are part of the state, so they can be changed while the bot runs."""

import msgspec


class Limits(msgspec.Struct):
    lots: int = 3
    """The size of each purchase."""
