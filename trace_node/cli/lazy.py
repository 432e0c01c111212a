"""Commands that are imported when they are called, and not before.

A center needs a database and a web framework; who checks a bundle or makes a key
does not wait for them to be read. The root of the command line knows each
command's module, name and summary (a test compares it with the command itself).
"""

from importlib import import_module
from typing import Any

import typer
from typer.core import TyperCommand


class Lazy(TyperCommand):
    """Stands for a command or a group of ``trace_node.cli.MODULE`` until it is called.

    The module's ``add_to`` adds it to an app, under ``name``.
    """

    def __init__(self, module: str, name: str, summary: str) -> None:
        """Know where the command is; nothing is imported."""
        super().__init__(name, help=summary)
        self.module = module

    def load(self) -> Any:
        """Return the command itself."""
        app = typer.Typer()
        import_module(f"trace_node.cli.{self.module}").add_to(app)
        return typer.main.get_group(app).commands[str(self.name)]

    def make_context(self, *args: Any, **kwargs: Any) -> Any:
        """Return the context of the command itself; its ``command`` is invoked."""
        return self.load().make_context(*args, **kwargs)
