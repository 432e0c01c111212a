"""Several workers on one PostgreSQL: paused at random moments, the server killed.

TRACE_NODE_PAUSES sets how many pauses (2), TRACE_NODE_SERVER_KILLS how many kills
of the database server (3), TRACE_NODE_SEED makes a run again.
"""

import os
import random
import signal
import time
from contextlib import contextmanager

import pytest

from tests.faults import story
from tests.faults.fleet import (
    Fleet,
    heads_of,
    judge,
    read_database,
    receipt_heads,
    signed_notes,
)
from tests.faults.serving import Zygote
from tests.faults.traffic import CLIENTS, Traffic, silence
from tests.postgres import Postgres
from trace_node.errors import ReadOnly
from trace_node.store.engine import reading
from trace_node.store.log import SqlLog
from trace_node.store.migrate import upgrade
from trace_node.store.postgres import open_postgres

WORKERS = 5
PAUSES = int(os.environ.get("TRACE_NODE_PAUSES", "2"))
KILLS = int(os.environ.get("TRACE_NODE_SERVER_KILLS", "3"))
SEED = int(os.environ.get("TRACE_NODE_SEED", "0")) or random.SystemRandom().randrange(
    1 << 32
)
AGAIN = 10.0  # seconds within which the others must acknowledge again
# A single server: the tests below say what it may lose, and cut no power.
ACCEPT = "no-standby"
# Sessions of one worker that hold the head's row lock and do nothing.
HOLDING = """
SELECT count(*) FROM pg_stat_activity a JOIN pg_locks l USING (pid)
WHERE a.application_name = '{}' AND a.state LIKE 'idle in transaction%'
AND l.granted AND l.relation = 'center.log_head'::regclass
"""


@pytest.fixture(scope="module")
def server():
    server = Postgres()
    yield server
    server.remove()
    story.drop_templates()


class Run:
    """A fleet of some build under load on a database of its own; a context."""

    def __init__(self, server, folder, name, workers, *, build=""):
        self.server, self.name, self.build = server, name, build
        self.zygote = Zygote(build)
        self.dice = random.Random(SEED)
        print(f"TRACE_NODE_SEED={SEED}")
        try:
            url = server.create(name)
            self.fleet = Fleet(folder / "fleet", url, accept=ACCEPT)
            self.traffic = Traffic(SEED)
            for _ in range(workers):
                self.traffic.open(self.fleet.hire(self.zygote).port)
        except BaseException:
            self.zygote.close()
            raise

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.traffic.close()
        for worker in self.fleet.workers:
            worker.signal(signal.SIGCONT)
        self.fleet.dismiss()
        self.zygote.close()
        self.server.drop(self.name)

    def read(self):
        folder = str(self.server.folder)
        return read_database(host=folder, user="postgres", dbname=self.name)

    def judge(self, **options):
        return judge(self.traffic, self.fleet, self.read, **options)

    def released(self):
        """Return the sizes of all heads that were signed: told to anybody, or kept."""
        acks = list(self.traffic.work.acks)
        heads = heads_of(signed_notes(self.traffic, self.fleet), self.fleet)
        heads |= receipt_heads(self.read(), acks, self.traffic.work.sent)
        return [size for size, _ in heads]

    def holds(self, number):
        """Say whether a worker holds the head's lock and does nothing."""
        query = HOLDING.format(f"worker{number}")
        return self.server.sql(query, database=self.name)[0][0] > 0

    def pause(self, number, *, in_transaction):
        """Stop a worker at a random moment; say whether it holds the lock then."""
        worker = self.fleet.workers[number]
        for _ in range(200):
            time.sleep(self.dice.uniform(0.01, 0.1))
            worker.signal(signal.SIGSTOP)
            time.sleep(0.05)  # what it sent last has arrived
            if self.holds(number):
                return True
            if not in_transaction:
                return False
            worker.signal(signal.SIGCONT)
        raise AssertionError("it is never seen in a transaction")

    def again(self, doors, since, *, seconds=AGAIN):
        """Wait until each door has new answers 201; return the longest silence.

        More of them than were under way, so that one is of a later commit.
        None where it took longer than ``seconds``.
        """
        until = since + seconds
        while time.monotonic() < until:
            new = [sum(at > since for at in door.acked) for door in doors]
            if all(count > CLIENTS for count in new):
                now = time.monotonic()
                return max(silence(door.acked, since, now) for door in doors)
            time.sleep(0.05)
        return None


def test_a_paused_worker_stops_the_others_for_seconds_and_itself_commits_nothing(
    server, tmp_path, record_property
):
    with Run(server, tmp_path, "paused", WORKERS) as run:
        gaps, held = [], 0
        for turn in range(PAUSES):
            time.sleep(1)
            number = run.dice.randrange(WORKERS)
            door = run.traffic.doors[number]
            others = [other for other in run.traffic.doors if other is not door]
            holds = run.pause(number, in_transaction=turn % 2 == 0)
            since = time.monotonic()
            held += holds
            gap = run.again(others, since)
            assert gap is not None, (SEED, turn, holds, run.traffic.statuses())
            gaps.append(gap)
            assert not run.holds(number)
            refused = door.statuses[503]
            resumed = time.monotonic()
            run.fleet.workers[number].signal(signal.SIGCONT)
            # What it had under way was rolled back under it: nobody is told 201.
            assert run.again([door], resumed) is not None
            if holds:
                assert door.statuses[503] > refused, (SEED, turn)
        run.traffic.stop()
        verdict = run.judge(signatures=True)
        assert verdict.faults == [], (SEED, verdict.faults[:3])
        assert set(run.traffic.statuses()) <= {201, 503}, run.traffic.statuses()
        assert held
        figures = {
            "pauses": PAUSES,
            "holding": held,
            "gap": round(max(gaps), 2),
            "acked": verdict.acked,
            "lost": verdict.lost,
            "forked": verdict.forked,
        }
        print(figures)
        record_property("figures", figures)


def test_a_server_that_lets_paused_workers_hold_the_lock_stops_all(server, tmp_path):
    with Run(server, tmp_path, "patient", 2, build="no idle limit") as run:
        time.sleep(1)
        assert run.pause(0, in_transaction=True)
        # Twice as long as a server with the limit needs.
        others = run.traffic.doors[1:]
        assert run.again(others, time.monotonic(), seconds=6) is None


def test_a_build_that_keeps_its_head_before_the_commit_forks_when_paused(
    server, tmp_path
):
    with Run(server, tmp_path, "hasty", 2, build="hasty") as run:
        for _ in range(10):
            time.sleep(0.5)
            run.pause(0, in_transaction=True)
            since = time.monotonic()
            run.again(run.traffic.doors[1:], since)
            run.fleet.workers[0].signal(signal.SIGCONT)
            time.sleep(1)
            verdict = run.judge()
            if verdict.forked:
                break
        assert verdict.forked
        print(verdict.faults[:2])


def test_a_database_server_killed_under_load_loses_nothing(
    server, tmp_path, record_property
):
    with Run(server, tmp_path, "killed", 3) as run:
        gaps = []
        for kill in range(KILLS):
            time.sleep(run.dice.uniform(0.3, 1.5))
            since = time.monotonic()
            server.kill()
            server.start()
            gap = run.again(run.traffic.doors, since, seconds=30)
            assert gap is not None, (SEED, kill, run.traffic.statuses())
            gaps.append(gap)
            verdict = run.judge()
            assert verdict.faults == [], (SEED, kill, verdict.faults[:3])
        run.traffic.stop()
        verdict = run.judge(signatures=True)
        assert verdict.faults == [], (SEED, verdict.faults[:3])
        assert set(run.traffic.statuses()) <= {201, 503}, run.traffic.statuses()
        figures = {
            "kills": KILLS,
            "gap": round(max(gaps), 2),
            "acked": verdict.acked,
            "lost": verdict.lost,
            "forked": verdict.forked,
        }
        print(figures)
        record_property("figures", figures)
        assert verdict.acked > 20 * KILLS


# A standby that never answers: every commit waits for ever, and is on this
# machine's disk meanwhile. Nothing that it holds may be vouched for.
ALONE = "ALTER SYSTEM SET synchronous_standby_names = 'nobody'"
TOGETHER = "ALTER SYSTEM RESET synchronous_standby_names"
RELOAD = "SELECT pg_reload_conf()"
WAITING = "SELECT pid FROM pg_stat_activity WHERE wait_event = 'SyncRep'"
WAITING_TO_ENTER = f"""
SELECT pid FROM ({WAITING}) AS waiting JOIN pg_locks USING (pid)
WHERE relation = 'center.entry'::regclass AND mode = 'RowExclusiveLock' AND granted
"""
CANCEL = f"SELECT pg_cancel_backend(pid) FROM ({WAITING}) AS waiting"


def _one_waits(run):
    """Take the standby away; say whether a session with entries waits for it.

    The one that waits may be another, one that vouches for what it found: it holds
    the head's lock, so nobody enters behind it. Then it is tried again.
    """
    run.server.sql(TOGETHER)
    run.server.sql(RELOAD)
    time.sleep(0.5)
    run.server.sql(ALONE)
    run.server.sql(RELOAD)
    # The checkpointer puts the setting in force, when it has time for it.
    until = time.monotonic() + 5
    while time.monotonic() < until:
        if run.server.sql(WAITING_TO_ENTER, database=run.name):
            return True
        time.sleep(0.05)
    return False


@contextmanager
def alone(run):
    """Leave the server without its standby; yields the size that is durable."""
    try:
        assert any(_one_waits(run) for _ in range(8)), "no session waits to enter"
        time.sleep(0.3)  # what was answered before has arrived
        yield max(run.released())
    finally:
        run.server.sql(TOGETHER)
        run.server.sql(RELOAD)


def restarted(run):
    """What is vouched for after a restart that shows commits nobody waited for."""
    time.sleep(1)
    with alone(run) as size:
        run.server.kill()
        run.server.start()
        assert len(run.read().entries) > size, "there is nothing to be seen"
        time.sleep(3)  # clients repeat what was not answered
        return [signed for signed in run.released() if signed > size]


def cancelled(run):
    """What is vouched for when somebody cancels the sessions that wait."""
    time.sleep(1)
    with alone(run) as size:
        told = 0
        for _ in range(15):
            told += len(run.server.sql(CANCEL))
            time.sleep(0.2)
        assert told, "no session waited, so there was nothing to cancel"
        return [signed for signed in run.released() if signed > size]


@pytest.mark.parametrize("happens", [restarted, cancelled])
def test_what_no_standby_has_is_not_vouched_for(server, tmp_path, happens):
    with Run(server, tmp_path, happens.__name__, 2) as run:
        assert happens(run) == []
        since = time.monotonic()  # the standby is back, and all goes on
        assert run.again(run.traffic.doors, since, seconds=20) is not None
        verdict = run.judge()
        assert verdict.faults == [], verdict.faults[:3]


@pytest.mark.parametrize(
    ("happens", "build"), [(restarted, "eager"), (cancelled, "trusting")]
)
def test_a_build_that_does_not_wait_vouches_for_it(server, tmp_path, happens, build):
    with Run(server, tmp_path, build, 2, build=build) as run:
        assert happens(run) != []


class EnoughError(Exception):
    """Ends a transaction before its commit, which would wait."""


def test_a_standby_is_taken_away_and_given_back_under_an_open_connection(server):
    url = server.create("taken")
    founding = open_postgres(url, "center", durable=True, accept=[ACCEPT])
    upgrade(founding, "center")
    SqlLog(founding, reading(founding)).create(story.ORIGIN)
    founding.dispose()
    engine = open_postgres(url, "center", durable=True)
    log = SqlLog(engine, reading(engine))

    def look():
        with log.append():
            raise EnoughError

    def becomes(error):
        until = time.monotonic() + 10
        while True:
            try:
                look()
            except (ReadOnly, EnoughError) as seen:
                if isinstance(seen, error) or time.monotonic() > until:
                    return type(seen)
            time.sleep(0.02)

    try:
        with pytest.raises(ReadOnly, match="no synchronous standby"):
            look()
        session = engine.pool.checkedin()
        for change, outcome in ((ALONE, EnoughError), (TOGETHER, ReadOnly)) * 2:
            server.sql(change)
            server.sql(RELOAD)
            assert becomes(outcome) is outcome, change
        assert engine.pool.checkedin() == session == 1
    finally:
        engine.dispose()
        server.sql(TOGETHER)
        server.sql(RELOAD)
        server.drop("taken")


def test_a_build_that_acknowledges_before_the_commit_loses(server, tmp_path):
    with Run(server, tmp_path, "early", 1, build="late commit") as run:
        time.sleep(1)
        server.kill()
        server.start()
        time.sleep(1)
        verdict = run.judge()
        assert verdict.acked
        assert verdict.lost
        print(f"lost {verdict.lost} of {verdict.acked}")
