"""`python -m vedette`: the same as the command `vedette`."""

from vedette.cli import main

main()
