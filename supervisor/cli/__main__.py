"""`python -m neverblink.supervisor.cli`: the same as the `neverblink` script."""

from . import main

main()
