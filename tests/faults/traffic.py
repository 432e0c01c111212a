"""Clients of all workers at once, and what they were told: kept outside the cluster.

Runs in a thread of its own with its own loop, so that a fault can be made, and
waited for, beside it. What counts as told: an answer 201 with its receipt, and
every checkpoint that any worker published.
"""

import asyncio
import time
from collections import Counter
from itertools import pairwise
from threading import Thread

from tests.faults.serving import Client, Work

CLIENTS = 4  # a worker
PAUSE = 0.02  # after an answer: the machine is shared, and this is no benchmark
SHED_PAUSE = 0.25  # after a refusal
PATIENCE = 60.0  # an answer that takes longer is a fault of its own
WATCH = 0.1  # between looks at a worker's checkpoint
_ASK = b"GET /log/checkpoint HTTP/1.1\r\nHost: x\r\n\r\n"


class Door:
    """One worker as its clients see it: the work of all, the times of its own."""

    def __init__(self, work, port):
        self.work = work
        self.port = port
        self.acked = []  # monotonic seconds
        self.statuses = Counter()
        self.refused = False
        self.dropped = 0
        self.notes = []  # every checkpoint, in the order they were published
        self.slowest = 0.0

    def next(self):
        """Return (identity, statement)."""
        return self.work.next()

    def answered(self, identity, status, index, body):
        """Take an answer down."""
        self.work.answered(identity, status, index, body)
        self.statuses[status] += 1
        self.refused = status != 201
        if status == 201:
            self.acked.append(time.monotonic())


class Caller(Client):
    """A client that takes a breath between requests and calls again."""

    def connection_made(self, transport):
        self.asked = 0.0
        self.alarm = None
        super().connection_made(transport)

    def send(self):
        if self.asked:
            self.work.slowest = max(self.work.slowest, time.monotonic() - self.asked)
        if self.alarm:
            self.alarm.cancel()
        pause = SHED_PAUSE if self.work.refused else PAUSE
        asyncio.get_running_loop().call_later(pause, self._ask)

    def _ask(self):
        if self.transport.is_closing():
            return
        self.asked = time.monotonic()
        if not self.stopping:
            self.alarm = asyncio.get_running_loop().call_later(PATIENCE, self._late)
        super().send()

    def _late(self):
        self.work.statuses["late"] += 1
        self.transport.abort()

    def connection_lost(self, error):
        if self.alarm:
            self.alarm.cancel()
        if not self.stopping:
            self.work.dropped += 1
        self.done(self)


class Traffic:
    """Load on some workers from ``start`` to ``stop``."""

    def __init__(self, seed):
        self.work = Work(seed)
        self.doors = []
        self.began = time.monotonic()
        self._loop = asyncio.new_event_loop()
        self._living = set()
        self._calling = set()
        self._empty = asyncio.Event()
        self._stopping = False
        self._thread = Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()

    def open(self, port):
        """Send clients to one more worker."""
        door = Door(self.work, port)
        self.doors.append(door)
        asyncio.run_coroutine_threadsafe(self._open(door), self._loop).result(30)
        return door

    async def _open(self, door):
        for _ in range(CLIENTS):
            await self._call(door)
        door.watch = asyncio.create_task(self._watch(door))

    async def _call(self, door):
        def done(client):
            self._living.discard(client)
            if self._stopping and not self._living:
                self._empty.set()
            if not client.stopping and not self._stopping:
                task = self._loop.create_task(self._call(door))
                self._calling.add(task)
                task.add_done_callback(self._calling.discard)

        _, client = await self._loop.create_connection(
            lambda: Caller(door, done), "127.0.0.1", door.port
        )
        self._living.add(client)

    async def _watch(self, door):
        """Keep every checkpoint that the worker publishes."""
        while True:
            reader, writer = await asyncio.open_connection("127.0.0.1", door.port)
            try:
                while True:
                    writer.write(_ASK)
                    head = await reader.readuntil(b"\r\n\r\n")
                    lines = head.lower().split(b"\r\n")
                    length = next(
                        line for line in lines if line.startswith(b"content-length")
                    )
                    note = await reader.readexactly(int(length.split(b":")[1]))
                    if head[9:12] == b"200" and note not in door.notes[-1:]:
                        door.notes.append(note)
                    await asyncio.sleep(WATCH)
            except (OSError, asyncio.IncompleteReadError):
                await asyncio.sleep(WATCH)
            finally:
                writer.close()

    def stop(self):
        """Let every request in flight be answered, then end the clients."""

        async def end():
            self._stopping = True
            for client in list(self._living):
                client.stopping = True
            if self._living:
                await asyncio.wait_for(self._empty.wait(), PATIENCE)

        asyncio.run_coroutine_threadsafe(end(), self._loop).result(2 * PATIENCE)

    def close(self):
        """End the clients that are left, the watchers and the loop."""

        async def end():
            self._stopping = True
            for task in self._calling:
                task.cancel()
            for client in list(self._living):
                client.stopping = True
                client.transport.abort()
            await asyncio.sleep(0.05)  # the loop tells them that they are closed
            watchers = [door.watch for door in self.doors]
            for watcher in watchers:
                watcher.cancel()
            await asyncio.gather(*watchers, return_exceptions=True)

        asyncio.run_coroutine_threadsafe(end(), self._loop).result(30)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def acks(self):
        """Return how many answers said 201 so far."""
        return len(self.work.acks)

    def statuses(self):
        """Return how often each status was answered."""
        return sum((door.statuses for door in self.doors), Counter())

    def gap(self, since, until):
        """Return the longest silence of all workers, and of the slowest one.

        The first is how long nobody could register; the second how long one
        worker's clients could not. In seconds, between two acknowledgements.
        """
        alone = [silence(door.acked, since, until) for door in self.doors]
        together = sorted(at for door in self.doors for at in door.acked)
        return silence(together, since, until), max(alone)


def silence(times, since, until):
    """Return the longest stretch of [since, until] without one of ``times``."""
    marks = [since, *(at for at in times if since <= at <= until), until]
    return max(later - sooner for sooner, later in pairwise(marks))
