"""`python -m retrowalk`: the command line."""

from retrowalk.cli import main

main()
