"""Real programs built on other packages, put on neverblink, and taken through deployments, a rollback and kills.

Each package has a directory: `before/` is the program as it was, `bot/` the same program on neverblink, with its
`neverblink.toml`; `requirements.txt` pins the package. `bin/test --frameworks [PACKAGE ...]` makes an environment for
each and runs its tests. `driver` puts the bot on a simulated counterpart, and counts.
"""
