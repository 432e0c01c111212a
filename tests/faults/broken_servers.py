"""Servers broken on purpose: for each kind of fault a build that it must catch.

Each entry of ``SERVERS`` changes the process it is called in, a child that is
about to serve. What it leaves out is what the real build does to survive.
"""

import json
import os
import time
from contextlib import suppress

import trace_node.api.app
import trace_node.api.bodies
import trace_node.api.routes.records
import trace_node.cli.center
import trace_node.node
import trace_node.services.publish
import trace_node.store.files
import trace_node.store.heads
import trace_node.store.tiles
import trace_node.store.vault
from tests.faults import broken_store as store
from tests.faults.broken import (
    eager,
    hasty,
    late_commit,
    no_idle_limit,
    trusting,
    unlocked,
)
from trace_node.api.register import Desk, Register
from trace_node.services.admission import LogAdmission
from trace_node.services.clock import TickClock
from trace_node.services.follow import Follower
from trace_node.services.submit import Intake


def gives_up():
    """End the sequencer's thread when a second is missing."""
    process = Intake._process
    last = [None]

    def _process(self, candidates):
        now = time.monotonic()
        if last[0] is not None and now - last[0] > 0.25:
            raise SystemExit
        outcomes = process(self, candidates)
        last[0] = time.monotonic()
        return outcomes

    Intake._process = _process


def blurts():
    """Leave errors of disk, database and memory to the framework."""
    trace_node.api.app.STORE_FAILURES = ()
    trace_node.api.app.NO_THREAD = ""


def commits_in_the_loop():
    """Commit where requests are read."""

    def put(self, candidate, token, deliver):
        deliver([(token, self._process([candidate])[0])])

    Intake.put = put


def index_from_the_end():
    """Begin a new index where the log ends."""
    real = Follower.step

    def step(self):
        if self._index.cursor() == 0:
            self._index.advance(self._log.head().range.size, [], [])
        return real(self)

    Follower.step = step


def misquotes_the_index():
    """Answer with the entry beside the one that the index names."""
    real = trace_node.api.routes.records.record_bundle

    def record_bundle(library, digest):
        made = json.loads(real(library, digest))
        for mention in made["answer"]["mentions"]:
            mention["index"] += 1
        return json.dumps(made).encode()

    trace_node.api.routes.records.record_bundle = record_bundle


def skips_what_failed():
    """Leave out of the index what could not be indexed at once."""
    real = Follower.step
    failed = []

    def step(self):
        try:
            if failed:
                self._index.advance(self._log.head().range.size, [], [])
                failed.clear()
            return real(self)
        except Exception:
            failed.append(True)
            raise

    Follower.step = step


def endless_patience():
    """Wait for clients for ever."""
    real = trace_node.cli.center.wire
    trace_node.cli.center.wire = lambda _: real(1e6)
    next_ = trace_node.api.bodies._next
    trace_node.api.bodies._next = lambda receive, _: next_(receive, 1e6)


def believes_any_clock():
    """Date by a clock however far it leaps."""
    TickClock.read = lambda self, _last: self._now()


def ticks_by_any_clock():
    """Tick when the second is another one, be it an earlier one."""
    real = LogAdmission.clock_entry

    def clock_entry(self):
        now, last = self._clock._now(), self.state.last_tick
        if self._size == 0 or now == last:
            return None
        self.state.last_tick = min(last, now - 1)
        return real(self)

    TickClock.read = lambda self, _last: self._now()
    LogAdmission.clock_entry = clock_entry


def crossed_answers():
    """Hand the answers of a large group to the wrong clients."""
    real = Desk._deliver

    def _deliver(self, results):
        if len(results) > 8:
            tokens = [token for token, _ in results]
            outcomes = [outcome for _, outcome in results]
            outcomes = outcomes[1:] + outcomes[:1]
            results = list(zip(tokens, outcomes, strict=True))
        real(self, results)

    Desk._deliver = _deliver


def leaks_descriptors():
    """Open one for each statement, and forget it."""
    real = Register.register

    async def register(self, scope, receive):
        with suppress(OSError):
            os.open("/dev/null", os.O_RDONLY)
        return await real(self, scope, receive)

    Register.register = register


SERVERS = {
    "": lambda: None,
    "late commit": late_commit,
    "unlocked": unlocked,
    "no idle limit": no_idle_limit,
    "hasty": hasty,
    "trusting": trusting,
    "eager": eager,
    "shrug": store.shrug,
    "gives up": gives_up,
    "hasty head": store.hasty_head,
    "careless start": store.careless_start,
    "migration in parts": store.migration_in_parts,
    "no lock": store.no_lock,
    "forgets files": store.forgets_files,
    "careless head": store.careless_head,
    "blurts": blurts,
    "in place": store.in_place,
    "commits in the loop": commits_in_the_loop,
    "sleepy": store.sleepy,
    "statements unchecked": store.statements_unchecked,
    "no guard": store.no_guard,
    "trusts the head": store.trusts_the_head,
    "trusts tiles": store.trusts_tiles,
    "no second making": store.no_second_making,
    "trusts the vault": store.trusts_the_vault,
    "says not found": store.says_not_found,
    "never catches up": store.never_catches_up,
    "index from the end": index_from_the_end,
    "misquotes the index": misquotes_the_index,
    "skips what failed": skips_what_failed,
    "endless patience": endless_patience,
    "believes any clock": believes_any_clock,
    "ticks by any clock": ticks_by_any_clock,
    "crossed answers": crossed_answers,
    "leaks descriptors": leaks_descriptors,
}
