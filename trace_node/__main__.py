"""``python -m trace_node``."""

from trace_node.cli import main

main()
