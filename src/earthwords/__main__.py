"""`python -m earthwords`."""

from earthwords.cli import main

main()
