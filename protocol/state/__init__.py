"""A bot's state without the bot's code: values, their JSON form, paths into them, and what differs between two."""
