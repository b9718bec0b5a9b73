"""`python -m nilometer` is the command line."""

from nilometer.cli import main

main()
