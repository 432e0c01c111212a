"""Clients under which a fault is injected, and all that they were ever told.

What is kept here lies outside the fault's reach: acknowledgements, checkpoints,
records that were taken, the bytes of every statement. Each read is compared at
once with what is known; an answer that is neither right nor an honest 503 is a
fault, whatever was done to the center.
"""

import asyncio
import contextlib
import time
from hashlib import sha256

from tests.faults import story
from tests.faults.campaign.wire import Caller, Gone
from tests.faults.serving import SIGNERS, Work, twin_of
from trace_node.ledger.checkpoint import open_checkpoint
from trace_node.ledger.tiles import TILE_WIDTH
from trace_node.trust.merkle import leaf_hash
from trace_node.trust.record import RECORD_MEDIA

COSE = "application/cose"
PATIENCE = 25.0  # seconds for an answer; a fault that heals must not take longer
LARGE = 70_000  # bytes: over the limit of a row, so a file


class Memory(Work):
    """What the clients sent and were told, from before the fault to the end."""

    def __init__(self, seed, past):
        super().__init__(seed)
        self.raws = dict(past.raws)  # identity -> statement
        self.acks = list(past.acks)
        self.held = dict(past.held)  # digest -> record that the center has taken
        self.places = {index: identity for identity, index, _ in past.acks}
        self.notes = {}  # checkpoint (size, root) -> when it was first seen
        self.published = 0
        self.spoken = []  # digests of records whose statements are entries
        self.refused = []  # records that were not taken, to be sent again
        self.faults = []

    def make(self):
        raw = super().make()
        self.raws[story.identity_of(raw)] = raw
        return raw

    def make_record(self, *, large):
        """Return (record, its statement)."""
        self.number += 1
        text = f"{self.seed} {self.number} " + "x" * (LARGE if large else 200)
        data, by = story.record(text), SIGNERS[0]
        raw = story.content(by, data)
        self.raws[story.identity_of(raw)] = raw
        return data, raw

    def told(self):
        """Return what is known at this moment, for ``back_to``."""
        return list(self.acks), dict(self.held), dict(self.notes)

    def back_to(self, told):
        """Forget what was told since: it came too late to count."""
        self.acks, self.held, self.notes = told
        self.places = {index: identity for identity, index, _ in self.acks}
        self.spoken.clear()

    def fault(self, text):
        if len(self.faults) < 50:
            self.faults.append(text)

    def acknowledged(self, identity, index, receipt):
        self.answered(identity, 201, index, receipt)
        if self.places.setdefault(index, identity) != identity:
            self.fault(f"two statements were acknowledged as entry {index}")

    def saw_note(self, note, vkey):
        """Keep a checkpoint; one that does not verify is a fault."""
        try:
            head, _, _ = open_checkpoint(note, [vkey])
        except Exception as error:
            self.fault(f"a checkpoint does not verify: {type(error).__name__}")
            return
        self.notes.setdefault((head.size, head.root), time.monotonic())
        self.published = max(self.published, head.size)

    def is_statement(self, index, raw):
        known = self.raws[self.places[index]]
        return raw in {known, twin_of(known)}

    def tile_faults(self, at, body):
        """Compare a full tile of level 0 with the statements we know."""
        for k in range(TILE_WIDTH):
            index = at * TILE_WIDTH + k
            if index in self.places:
                known = self.raws[self.places[index]]
                leaf = body[32 * k : 32 * k + 32]
                if leaf not in {leaf_hash(known), leaf_hash(twin_of(known))}:
                    self.fault(f"tile {at} has another leaf at entry {index}")
                    return


class Load:
    """Endless clients of one center; ``memory`` is what they were told."""

    def __init__(self, port_of, memory, vkey):
        self.memory, self.vkey = memory, vkey
        self._port_of = port_of
        self._tasks = []
        self.last_ack = self.slowest_live = self.worst_stall = 0.0
        self.broken = 0  # connections that ended without an answer
        self.allowed = {503}  # what else than good is no fault

    def start(self, clients=6):
        self.last_ack = time.monotonic()
        self._tasks += [asyncio.create_task(self._client()) for _ in range(clients)]
        self._tasks.append(asyncio.create_task(self._pulse()))

    async def stop(self):
        """End the clients; an answer on its way is not waited for."""
        self._mark()
        for task in self._tasks:
            task.cancel()
        for result in await asyncio.gather(*self._tasks, return_exceptions=True):
            if isinstance(result, Exception):
                raise result
        self._tasks.clear()

    async def acks(self, count, within):
        """Wait for ``count`` new acknowledgements; say if they came in time."""
        until, wanted = time.monotonic() + within, len(self.memory.acks) + count
        while len(self.memory.acks) < wanted:
            if time.monotonic() > until:
                return False
            await asyncio.sleep(0.01)
        return True

    async def _client(self):
        caller, dice = Caller(self._port_of), self.memory.dice
        try:
            while True:
                chance = dice.random()
                try:
                    if chance < 0.75:
                        await self._register(caller, *self.memory.next())
                    elif chance < 0.85:
                        await self._record(caller, large=dice.random() < 0.3)
                    else:
                        await read_something(self, caller)
                except Gone:
                    self.broken += 1
                    await asyncio.sleep(0.02)
                except TimeoutError:
                    self.memory.fault(f"no answer within {PATIENCE:g} s")
        finally:
            caller.close()

    async def _pulse(self):
        """Ask for the smallest answer there is, on a connection of its own."""
        caller = Caller(self._port_of)
        try:
            while True:
                began = time.monotonic()
                with contextlib.suppress(Gone, TimeoutError):
                    await caller.call("GET", "/health/live", patience=PATIENCE)
                    taken = time.monotonic() - began
                    self.slowest_live = max(self.slowest_live, taken)
                await asyncio.sleep(0.05)
        finally:
            caller.close()

    async def _register(self, caller, identity, raw):
        answer = await caller.call("POST", "/entries", raw, COSE, PATIENCE)
        self.judge(answer, {201}, "POST /entries")
        if answer.status == 201:
            index = int(answer.headers[b"location"].rpartition(b".")[2])
            self._mark()
            self.memory.acknowledged(identity, index, answer.body)
            return True
        self.memory.answered(identity, answer.status, -1, b"")
        await asyncio.sleep(0.05)
        return False

    async def _record(self, caller, *, large):
        memory = self.memory
        if memory.refused and memory.dice.random() < 0.5:
            data, raw = memory.refused.pop()
        else:
            data, raw = memory.make_record(large=large)
        digest = sha256(data).digest()
        path = f"/v1/records/{digest.hex()}"
        answer = await caller.call("PUT", path, data, RECORD_MEDIA, PATIENCE)
        self.judge(answer, {201, 204}, "PUT a record")
        if answer.status in {201, 204}:
            memory.held[digest] = data
            if await self._register(caller, story.identity_of(raw), raw):
                memory.spoken.append(digest)
        else:
            memory.refused.append((data, raw))

    def _mark(self):
        now = time.monotonic()
        self.worst_stall = max(self.worst_stall, now - self.last_ack)
        self.last_ack = now

    def judge(self, answer, good, what):
        """An answer is good, or an honest refusal that says when to come again."""
        if answer.status in good:
            return True
        if answer.status == 503 and b"retry-after" not in answer.headers:
            self.memory.fault(f"{what}: 503 without Retry-After")
        if answer.status not in self.allowed:
            self.memory.fault(f"{what}: {answer.status} {answer.body[:120]!r}")
        return False


async def read_something(load, caller):
    """Read a thing that is known to be there, and compare."""
    memory = load.memory
    what = memory.dice.randrange(5)
    if what == 0:
        await read_checkpoint(load, caller)
    elif what == 1:
        await read_entry(load, caller, memory.dice.choice(list(memory.places)))
    elif what == 2:
        await read_receipt(load, caller, memory.dice.choice(memory.acks))
    elif what == 3 and memory.published >= TILE_WIDTH:
        at = memory.dice.randrange(memory.published // TILE_WIDTH)
        await read_tile(load, caller, at)
    elif memory.held:
        await read_record(load, caller, memory.dice.choice(list(memory.held)))


async def read_checkpoint(load, caller):
    answer = await caller.call("GET", "/log/checkpoint", patience=PATIENCE)
    if answer.status != 404 and load.judge(answer, {200}, "GET the checkpoint"):
        load.memory.saw_note(answer.body, load.vkey)


async def read_entry(load, caller, index):
    path = f"/entries/1.{index}/statement"
    answer = await caller.call("GET", path, patience=PATIENCE)
    if load.judge(answer, {200}, "GET a statement") and not load.memory.is_statement(
        index, answer.body
    ):
        load.memory.fault(f"entry {index} is served with other bytes")


async def read_receipt(load, caller, ack):
    _, index, receipt = ack
    answer = await caller.call("GET", f"/entries/1.{index}", patience=PATIENCE)
    if load.judge(answer, {200}, "GET a receipt") and answer.body != receipt:
        load.memory.fault(f"entry {index} is served with another receipt")


async def read_tile(load, caller, at):
    name = f"{at // 1000:03}/{at % 1000:03}" if at >= 1000 else f"{at:03}"
    answer = await caller.call("GET", f"/log/tile/0/{name}", patience=PATIENCE)
    if load.judge(answer, {200}, "GET a tile"):
        load.memory.tile_faults(at, answer.body)


async def read_record(load, caller, digest):
    path = f"/v1/records/{digest.hex()}"
    answer = await caller.call("GET", path, patience=PATIENCE)
    good = load.judge(answer, {200}, "GET a record")
    if good and answer.body != load.memory.held[digest]:
        load.memory.fault("a record is served with other bytes")


async def read_all(load, port_of):
    """Read every entry, tile and record that we know of, one after another."""
    memory, caller = load.memory, Caller(port_of)
    try:
        await read_checkpoint(load, caller)
        for index in sorted(memory.places):
            await read_entry(load, caller, index)
        for ack in list(memory.acks[::5]):
            await read_receipt(load, caller, ack)
        for at in range(memory.published // TILE_WIDTH):
            await read_tile(load, caller, at)
        for digest in list(memory.held):
            await read_record(load, caller, digest)
    finally:
        caller.close()
