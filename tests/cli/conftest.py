"""The fixtures of the command line tests."""

from cli_story import place

__all__ = ["place"]
