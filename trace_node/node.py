"""Wiring: settings become a center. The only owner of clock, keys and dice."""

import json
import logging
import secrets
import shutil
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event, Thread
from typing import Any

from trace_node.config import FILE, Settings
from trace_node.errors import BlobsDown, Misuse, ReadOnly, TraceNodeError
from trace_node.ledger.merkle import Growth
from trace_node.ledger.sequencer import Identity, Placed, Sequencer
from trace_node.local import elapsed, now, read_rules
from trace_node.services.admission import LogAdmission
from trace_node.services.bundle import Library
from trace_node.services.checked import CheckedLog
from trace_node.services.clock import TickClock
from trace_node.services.follow import Follower
from trace_node.services.founding import (
    Registrar,
    lay_out,
    make_keys,
    policy_body,
    policy_text,
)
from trace_node.services.held import check_held
from trace_node.services.line import Room
from trace_node.services.own_keys import Keys
from trace_node.services.patrol import Patrol
from trace_node.services.prepare import Preparer
from trace_node.services.priority import stand_back
from trace_node.services.publish import Publisher
from trace_node.services.receipts import Receipts
from trace_node.services.submit import Intake, Told
from trace_node.store.blobs import Places
from trace_node.store.engine import open_engines, reading
from trace_node.store.failing import told
from trace_node.store.files import write_file
from trace_node.store.heads import HeadFile
from trace_node.store.index import SqlIndex
from trace_node.store.log import SqlLog
from trace_node.store.migrate import upgrade
from trace_node.store.tiles import TileStore
from trace_node.store.vault import Vault
from trace_node.trust.did import did_web
from trace_node.trust.keys import MemorySigner
from trace_node.trust.policy import parse_policy
from trace_node.trust.vkey import VerifierKey, make_vkey

LOGGER = logging.getLogger("trace_node")
SWITCH = 2e-4  # seconds that a thread keeps the interpreter while others want it
FOLLOW_PAUSE = 0.02  # seconds between two steps of the follower
ED25519_NOTE = 1  # C2SP signed-note: the algorithm byte of Ed25519 log keys


@dataclass
class Health:
    """What the operator and the load balancer want to know."""

    problems: dict[str, str] = field(default_factory=dict)  # by who met it
    degraded: dict[str, str] = field(default_factory=dict)  # the same, writes go on
    low_space: bool = False
    commits: int = 0
    entries: int = 0
    failures: int = 0
    started: float = field(default_factory=time.monotonic)

    def reason(self) -> str:
        """Return why the center takes no writes; empty when it does."""
        if self.low_space:
            return "the disk is nearly full"
        return "; ".join(list(self.problems.values()))

    def limits(self) -> str:
        """Return what does not work while the center takes writes."""
        return "; ".join(list(self.degraded.values()))


class Node:
    """A center, open on its folder. ``start`` lets it work, ``stop`` ends it."""

    def __init__(
        self,
        folder: Path,
        settings: Settings,
        *,
        clock: Callable[[], int] | None = None,
        founding: bool = False,
    ) -> None:
        """Open the databases, keys and files of the center in ``folder``.

        Args:
            folder: made by ``found``.
            settings: of this center.
            clock: Unix seconds; the wall clock (``now``) if left out.
            founding: make the log, which must not be there yet.

        Raises:
            Misuse: there is no center, or its keys or database cannot be opened.
            Unreachable: the database server does not answer.
            StoreCorrupt: what is stored does not lead to the head signed last.
        """
        # Every socket that the loop reads costs it the interpreter lock and back:
        # a millisecond for each, beside a busy sequencer, made seconds of hundreds.
        sys.setswitchinterval(SWITCH)
        self.folder = folder
        self.settings = settings
        self.clock = clock or now
        self.tick_clock = TickClock(
            self.clock,
            clock or elapsed,  # whoever brings a clock vouches for it
            leap=settings.clock_leap_seconds,
            idle=settings.clock_idle_days * 86_400,
        )
        self.health = Health()
        self.rules = read_rules()
        self.keys = Keys.load(folder, settings.passphrase)
        self.vkey = log_vkey(settings.origin, self.keys.log)
        self.did = center_did(settings.origin)
        with told():
            self._open_store(founding=founding)
        self.admission = LogAdmission(
            settings.origin,
            self.log,
            self.vault,
            self.keys.center,
            self.tick_clock,
        )
        self.checked = CheckedLog(self.log, self.tiles)
        doubt = self.keys.check(self.admission, self.log.head().range.size)
        if doubt:  # told again by the first commit, which fails the same way
            LOGGER.error("%s", doubt)
        # As the log says: a setting that changed at rest is not a name.
        self.name = self.admission.state.name or settings.name
        self.receipts = Receipts(
            self.log,
            self.vault,
            self.tiles,
            self.keeper,
            lambda: self.sequencer.settle(),  # noqa: PLW0108 - made below
            self.keys.receipt.public,
        )
        self.sequencer = Sequencer(
            self.log,
            self.admission,
            self.keeper,
            Identity(settings.origin, self.did, self.keys.log, self.keys.receipt),
            on_commit=self._committed,
            check_held=lambda: check_held(folder),
        )
        self.preparer = Preparer(self.vault, self.rules, settings.origin)
        self.follower = Follower(self.checked, self.index, self.vault)
        self.publisher = Publisher(
            self.log, self.tiles, self.keeper, self.vkey, self.clock
        )
        self.library = Library(
            self.checked,
            self.vault,
            self.index,
            self.tiles,
            self.keeper,
            self.follower,
            parse_policy(policy_text(self.vkey)),
        )
        self.intake = Intake(
            self.sequencer,
            self.admission,
            self.receipts,
            room=Room(
                settings.waiting_seconds,
                settings.waiting_entries,
                settings.waiting_bytes,
            ),
            timer=time.monotonic,
            told=Told(
                lambda error: self._failed("sequencer", error),
                lambda: self._worked("sequencer"),
                self.follower.completed,
            ),
        )
        self.patrol = Patrol(folder, self.library, self.receipts)
        self._seen_size = 0  # of the database, when it was looked at last
        self._stopping = Event()
        self._threads: list[Thread] = []

    def _open_store(self, *, founding: bool) -> None:
        folder, settings = self.folder, self.settings
        self.engines = open_engines(
            folder,
            settings.database_url.get_secret_value(),
            accept=settings.database_accept.split(","),
            seconds=settings.database_seconds,
        )
        center, index = self.engines.center, self.engines.index
        upgrade(center, "center")
        upgrade(index, "index")
        reader = reading(center)
        self.log = SqlLog(center, reader)
        self._find_log(founding=founding)
        self._places = Places(settings.blobs, folder, settings.origin)
        blobs, limit = self._places.vault, settings.staged_bytes
        self.vault = Vault(center, reader, blobs, staged_limit=limit, clock=self.clock)
        self.index = SqlIndex(index, reading(index))
        self.keeper = HeadFile(folder, self.vkey)
        self.tiles = TileStore(self._places.tiles, self.log)
        self.tiles.load(self.log.head().range)

    def _find_log(self, *, founding: bool) -> None:
        origin = self.log.origin()
        if origin is None:
            if not founding:
                raise Misuse(
                    "the database holds no log: is it the one of this center? "
                    "(setting database_url)"
                )
            self.log.create(self.settings.origin)
        elif founding and self.log.head().range.size:
            raise Misuse(f"the database holds a log already: {origin}")
        elif origin != self.settings.origin:
            raise Misuse(f"the database is of {origin}, the settings say otherwise")

    def say(self, kind: str, body: dict[str, Any]) -> Placed:
        """Register a governance record of the operator, signed by the root key.

        Raises:
            Misuse: the root key is not here.
            TraceNodeError: the record was refused.
        """
        if self.keys.root is None:
            raise Misuse("the operator's root key is not in keys/root.pem")
        registrar = Registrar(
            self.preparer, self.intake, self.settings.origin, self.did
        )
        salt = secrets.token_bytes(16)
        return registrar.say(self.keys.root, kind, body, self.clock(), salt)

    def check_room(self, *, bulk: bool = False, late: float = 0.0) -> None:
        """Raise when the center takes no writes now; reads never ask this.

        Args:
            bulk: asked for one of many, which may wait behind single ones.
            late: seconds by which the caller is behind with reading and answering.

        Raises:
            Overloaded: the line is full.
            ReadOnly: the disk is nearly full.
        """
        if self.health.low_space:
            raise ReadOnly("the center's disk is nearly full")
        self.intake.check_room(bulk=bulk, late=late)

    def start(self) -> None:
        """Settle what a crash may have left, then let the threads work."""
        self.intake.recover()
        if self.admission.state.rules != self.rules.digests:
            LOGGER.warning(
                "the rules installed are not those that the log's policy names: "
                "register a new registration-policy to put them in force"
            )
        self._turn("publisher", self._publish)
        self.intake.start()
        for name, work, pause in (
            ("publisher", self._publish, self.settings.publish_seconds),
            ("follower", self._follow, 1.0),
            ("patrol", self._scrub, 1.0),
        ):
            thread = Thread(
                target=self._repeat, args=(name, work, pause), name=name, daemon=True
            )
            thread.start()
            self._threads.append(thread)

    def stop(self) -> None:
        """Finish the line, publish the last head, close everything."""
        self.intake.stop()
        self._stopping.set()  # only now: the last turn publishes what the line left
        for thread in self._threads:
            thread.join()
        self.close()

    def close(self) -> None:
        """Close files and databases of a node that was never started."""
        self.keeper.close()
        self.engines.dispose()
        self._places.close()

    def _repeat(self, name: str, work: Callable[[], None], pause: float) -> None:
        stand_back()
        while True:
            ended = self._stopping.wait(pause)
            self._turn(name, work)
            if ended:
                return

    def _turn(self, name: str, work: Callable[[], None]) -> None:
        try:
            work()
        except BlobsDown as error:
            self._degrade(name, error)
        except Exception as error:  # noqa: BLE001 - the next turn tries again
            self._failed(name, error)
        else:
            self._worked(name)

    def _publish(self) -> None:
        free = shutil.disk_usage(self.folder).free
        self.health.low_space = free < self.settings.free_bytes
        self._settle()
        self.publisher.step()
        self._places.check()

    def _settle(self) -> None:
        """Hold the database against the heads kept here, also when nobody writes.

        A database behind them is found within a second, and what a process
        elsewhere appended is kept here, too. A head that is ahead for a moment is
        the sequencer's between its commit and its keeping, hence two looks.
        """
        last = self.keeper.last()
        kept = last.size if last else 0
        size = self.log.head().range.size
        if size < kept or kept < self._seen_size:
            self.sequencer.settle()
        self._seen_size = size

    def _follow(self) -> None:
        # Between two steps the sequencer and the requests come first: a burst of
        # thousands of entries read at once is a stall for everybody.
        while self.follower.step() and not self._stopping.wait(FOLLOW_PAUSE):
            pass
        # By a clock that leapt every record would have waited too long.
        last = self.log.entry(self.log.head().range.size - 1).recorded
        now = self.tick_clock.read(last)
        self.follower.tidy(now, self.settings.staged_hours * 3600)

    def _scrub(self) -> None:
        if self.settings.scrub_entries and not self._stopping.is_set():
            for damage in self.patrol.step(self.settings.scrub_entries):
                LOGGER.error("damaged on the disk: %s", damage)

    def _committed(self, growth: Growth) -> None:
        self.tiles.grow(growth)
        self.health.commits += 1
        self.health.entries += growth.size - growth.old_size

    def _worked(self, name: str) -> None:
        self.health.problems.pop(name, None)
        self.health.degraded.pop(name, None)

    def _degrade(self, name: str, error: BlobsDown) -> None:
        # Statements and records that are rows are taken as ever.
        self.health.problems.pop(name, None)
        text = f"{name}: {error}"
        if self.health.degraded.get(name) != text:
            self.health.degraded[name] = text
            LOGGER.warning("%s", text)

    def _failed(self, name: str, error: Exception) -> None:
        self.health.failures += 1
        self.health.problems[name] = f"{name}: {type(error).__name__}: {error}"
        if not isinstance(error, TraceNodeError):
            # After an I/O error nothing that a connection remembers is believed.
            self.engines.center.dispose()
        LOGGER.error("%s", self.health.problems[name])


def center_did(origin: str) -> str:
    """Return the did:web of the center that keeps the log ``origin``."""
    host, *path = origin.removesuffix("/log").split("/")
    return did_web(host, *path)


def log_vkey(origin: str, signer: MemorySigner) -> VerifierKey:
    """Return the verifier key that checkpoints of ``origin`` are checked with."""
    return make_vkey(origin, ED25519_NOTE, signer.public.x)


def found(
    folder: Path, settings: Settings, *, clock: Callable[[], int] | None = None
) -> Node:
    """Make a new center in ``folder`` and return it open, entry 0 registered.

    Raises:
        Misuse: the folder is not empty.
    """
    values = {"origin": settings.origin, "name": settings.name}
    text = "".join(
        # A JSON string of printable text is a TOML string too.
        f"{name} = {json.dumps(value, ensure_ascii=False)}\n"
        for name, value in values.items()
    )
    lay_out(folder, {FILE: text})
    try:
        signers = make_keys(folder, settings.passphrase)
        vkey = log_vkey(settings.origin, signers["log"])
        write_file(folder / "policy.txt", policy_text(vkey).encode())
        node = Node(folder, settings, clock=clock, founding=True)
    except BaseException:
        shutil.rmtree(folder)  # it was empty, and nothing was signed
        raise
    body = policy_body(settings.origin, settings.name, node.did, str(vkey), signers)
    node.say("registration-policy", {**body, "rules": node.rules.named()})
    node.publisher.step()
    return node
