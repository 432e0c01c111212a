"""Room for connections: who yields, and when one is refused."""

import random

import pytest

from trace_node.api.lobby import Lobby, home_of

ACTS = ["enter"] * 4 + ["leave"] + ["busy"] * 3 + ["idle"]


class Counts:
    connections = refused = evicted = 0


class Guest:
    def __init__(self):
        self.closed = False

    def yield_room(self):
        self.closed = True


@pytest.fixture
def counts():
    return Counts()


def enter(lobby, address="10.0.0.1", *, busy=False):
    guest = Guest()
    assert lobby.enter(guest, address)
    if busy:
        lobby.busy(guest)
    return guest


def test_the_longest_idle_yields_and_the_busy_stay(counts):
    lobby = Lobby(3, 3, counts)
    working, first, second = (enter(lobby, busy=n == 0) for n in range(3))
    lobby.busy(first)
    lobby.idle(first)  # it was served since: the second waits longer now
    newest = enter(lobby)
    assert [g.closed for g in (working, first, second, newest)] == [0, 0, 1, 0]
    assert (counts.connections, counts.evicted, counts.refused) == (3, 1, 0)


def test_where_everybody_is_busy_the_new_one_is_refused(counts):
    lobby = Lobby(2, 2, counts)
    guests = [enter(lobby, busy=True) for _ in range(2)]
    late = Guest()
    assert not lobby.enter(late, "10.0.0.2")
    assert not any(guest.closed for guest in guests)
    lobby.leave(late)  # it was never in
    assert (counts.connections, counts.refused) == (2, 1)
    lobby.leave(guests[0])
    assert lobby.enter(late, "10.0.0.2")


def test_one_address_takes_its_own_room_only(counts):
    lobby = Lobby(10, 2, counts)
    other = enter(lobby, "10.0.0.9")
    greedy = [enter(lobby) for _ in range(5)]
    assert [guest.closed for guest in greedy] == [True] * 3 + [False] * 2
    assert not other.closed
    for guest in greedy[3:]:
        lobby.busy(guest)
    assert not lobby.enter(Guest(), "10.0.0.1")
    assert lobby.enter(Guest(), "10.0.0.3")


def test_an_address_is_one_subscriber():
    assert home_of("192.0.2.7") == "192.0.2.7"
    assert home_of("::ffff:192.0.2.7") == "192.0.2.7"
    assert home_of("2001:db8:1:2::1") == home_of("2001:db8:1:2:ffff::9")
    assert home_of("2001:db8:1:2::1") != home_of("2001:db8:1:3::1")
    assert home_of("fe80::1%eth0") == home_of("fe80::2")


def test_its_counts_agree_with_a_model(counts):
    seed = random.SystemRandom().randrange(1 << 32)
    print(f"seed={seed}")
    dice = random.Random(seed)
    lobby = Lobby(12, 5, counts)
    inside, evicted, refused = {}, 0, 0
    for _ in range(5_000):
        act = dice.choice(ACTS)
        if act == "enter":
            guest, home = Guest(), f"10.0.0.{dice.randrange(6)}"
            entered = lobby.enter(guest, home)
            gone = [g for g in inside if g.closed]
            evicted += len(gone)
            refused += not entered
            full = len(inside) == 12 or sum(h == home for h, _ in inside.values()) == 5
            assert len(gone) == (full and entered)
            for old in gone:
                assert inside.pop(old)[1] is False
            if entered:
                inside[guest] = (home, False)
        elif inside:
            guest = dice.choice(list(inside))
            home, _ = inside[guest]
            if act == "leave":
                lobby.leave(guest)
                del inside[guest]
            else:
                (lobby.busy if act == "busy" else lobby.idle)(guest)
                inside[guest] = (home, act == "busy")
        assert counts.connections == len(inside) <= 12
    assert (counts.evicted, counts.refused) == (evicted, refused)
    assert evicted > 50
    assert refused > 0
    for guest in list(inside):
        lobby.leave(guest)
    assert (lobby._parties, lobby._homes, lobby._idle) == ({}, {}, {})
