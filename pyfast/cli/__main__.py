"""`python -m pyfast.cli`, the same as `pyfast`."""

from pyfast.cli import main

main()
