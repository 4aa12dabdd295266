"""``python -m kvmplan``."""

from kvmplan.cli import main

main()
