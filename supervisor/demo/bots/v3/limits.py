"""How much the bot may do. It is part of the state, so it can be changed while the bot runs."""

import msgspec


class Limits(msgspec.Struct):
    lots: int = 3
    """How much of a contract is bought."""
