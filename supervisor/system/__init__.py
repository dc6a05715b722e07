"""What the supervisor needs of the operating system and of text from outside."""
