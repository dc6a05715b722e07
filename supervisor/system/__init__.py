"""The operating system and text from outside: processes, permissions, disk, signals, timers, logs."""
