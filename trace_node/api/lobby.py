"""Room for connections: how many, how many of one address, and who yields.

A connection that serves no request is idle: it has not sent its first one, or
waits between two. Where there is no room for a new one, the one idle for longest
is closed to make it, of the same address first. So ten thousand silent
connections keep nobody out. Only where everybody is busy is the new one refused.
"""

import ipaddress
from dataclasses import dataclass, field
from typing import Protocol

from trace_node.api.figures import Figures

V6_NETWORK = 64  # bits that one subscriber has to himself


class Guest(Protocol):
    """A connection; compared by identity."""

    def yield_room(self) -> None:
        """Close: somebody else needs the room."""


@dataclass(slots=True)
class Party:
    """The guests of one address."""

    count: int = 0
    idle: dict[Guest, None] = field(default_factory=dict)  # the longest first


class Lobby:
    """Counts connections and finds the ones that yield; one event loop's."""

    def __init__(self, most: int, each: int, figures: Figures) -> None:
        """Make room for ``most`` connections, ``each`` of one address."""
        self._most = most
        self._each = each
        self._figures = figures
        self._parties: dict[str, Party] = {}
        self._homes: dict[Guest, str] = {}
        self._idle: dict[Guest, None] = {}

    def enter(self, guest: Guest, address: str) -> bool:
        """Take in a guest, idle; return False when there is no room."""
        home = home_of(address)
        party = self._parties.get(home)
        if party is not None and party.count >= self._each:
            if not self._make_room(party.idle):
                return self._refuse()
        elif len(self._homes) >= self._most and not self._make_room(self._idle):
            return self._refuse()
        party = self._parties.setdefault(home, Party())
        party.count += 1
        self._homes[guest] = home
        self.idle(guest)
        self._figures.connections = len(self._homes)
        return True

    def _refuse(self) -> bool:
        self._figures.refused += 1
        return False

    def _make_room(self, idle: dict[Guest, None]) -> bool:
        longest = next(iter(idle), None)
        if longest is None:
            return False
        self._figures.evicted += 1
        self.leave(longest)
        longest.yield_room()
        return True

    def idle(self, guest: Guest) -> None:
        """Note that a guest waits; it is the last to yield."""
        home = self._homes.get(guest)
        if home is not None:
            self._idle[guest] = self._parties[home].idle[guest] = None

    def busy(self, guest: Guest) -> None:
        """Note that a guest is being served."""
        if guest in self._idle:
            del self._idle[guest]
            del self._parties[self._homes[guest]].idle[guest]

    def leave(self, guest: Guest) -> None:
        """Let a guest go; nothing happens when it has gone."""
        home = self._homes.pop(guest, None)
        if home is None:
            return
        self._idle.pop(guest, None)
        party = self._parties[home]
        party.idle.pop(guest, None)
        party.count -= 1
        if not party.count:
            del self._parties[home]
        self._figures.connections = len(self._homes)


def home_of(address: str) -> str:
    """Return what stands for one client: an IPv4 address, or an IPv6 network."""
    if ":" not in address:
        return address
    plain = ipaddress.IPv6Address(address.partition("%")[0])
    if plain.ipv4_mapped:
        return str(plain.ipv4_mapped)
    return str(ipaddress.IPv6Network((plain, V6_NETWORK), strict=False))
