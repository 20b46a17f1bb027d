"""`python -m langmerge`: the same as the command `langmerge`."""

from langmerge.cli import main

main()
