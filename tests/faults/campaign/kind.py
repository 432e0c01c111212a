"""A kind of fault: how it is done, what must hold, and the build it must catch."""

from collections.abc import Callable
from dataclasses import dataclass

from tests.faults.campaign.aftermath import whole


@dataclass(frozen=True)
class Kind:
    """A kind of fault.

    Attributes:
        name: as ``--only`` takes it and the scorecard shows it.
        holds: what must hold, as a sentence.
        control: the build (tests/faults/broken_servers.py) that must fail here.
        run: does it to a world.
        verdict: looks at what is left when all servers are gone.
        needs: each returns why this cannot be done here, "" if it can.
        quick: cheap enough for the short form.
    """

    name: str
    holds: str
    control: str
    run: Callable
    verdict: Callable
    needs: tuple
    quick: bool

    def missing(self):
        """Return why this kind cannot be injected on this machine, "" if it can."""
        return next(filter(None, (need() for need in self.needs)), "")


KINDS: dict[str, Kind] = {}


def kind(name, *, holds, control, verdict=whole, needs=(), quick=True):
    """Enter a coroutine function into the table of kinds."""

    def enter(run):
        KINDS[name] = Kind(name, holds, control, run, verdict, tuple(needs), quick)
        return run

    return enter
