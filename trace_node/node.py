"""Wiring: settings become a center. The only owner of clock, keys and dice."""

import json
import logging
import secrets
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from trace_node.config import FILE, Settings
from trace_node.errors import Misuse, ReadOnly, TraceNodeError
from trace_node.ledger.merkle import Growth
from trace_node.ledger.sequencer import Identity, Placed, Sequencer
from trace_node.local import elapsed, now, read_rules
from trace_node.services.admission import LogAdmission
from trace_node.services.background import Background
from trace_node.services.bundle import Library
from trace_node.services.checked import CheckedLog
from trace_node.services.clock import TickClock
from trace_node.services.follow import Follower
from trace_node.services.founding import (
    Registrar,
    center_did,
    lay_out,
    log_vkey,
    make_keys,
    policy_body,
    policy_text,
)
from trace_node.services.health import Health
from trace_node.services.held import check_held
from trace_node.services.line import Room
from trace_node.services.own_keys import Keys
from trace_node.services.patrol import Patrol
from trace_node.services.prepare import Preparer
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
from trace_node.trust.policy import parse_policy

LOGGER = logging.getLogger("trace_node")
SWITCH = 5e-5  # seconds that a thread keeps the interpreter while others want it
FOLLOW_PAUSE = 0.02  # seconds between two steps of the follower


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
            settings.origin, self.log, self.vault, self.keys.center, self.tick_clock
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
                lambda: self.health.worked("sequencer"),
                self.follower.completed,
            ),
        )
        self.patrol = Patrol(folder, self.library, self.receipts)
        self._seen_size = 0  # of the database, when it was looked at last
        self._background = Background(self.health, self._failed)

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
        self.log.open(settings.origin, founding=founding)
        self._places = Places(settings.blobs, folder, settings.origin)
        blobs, limit = self._places.vault, settings.staged_bytes
        self.vault = Vault(center, reader, blobs, staged_limit=limit, clock=self.clock)
        self.index = SqlIndex(index, reading(index))
        self.keeper = HeadFile(folder, self.vkey)
        self.tiles = TileStore(self._places.tiles, self.log)
        self.tiles.load(self.log.head().range)

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
        self._background.turn("publisher", self._publish)
        self.intake.start()
        pause = self.settings.publish_seconds
        self._background.repeat("publisher", self._publish, pause)
        self._background.repeat("follower", self._follow, 1.0)
        self._background.repeat("patrol", self._scrub, 1.0)

    def stop(self) -> None:
        """Finish the line, publish the last head, close everything."""
        self.intake.stop()
        self._background.stop()  # only now: its last turn publishes what came last
        self.close()

    def close(self) -> None:
        """Close files and databases of a node that was never started."""
        self.keeper.close()
        self.engines.dispose()
        self._places.close()

    def _publish(self) -> None:
        free = shutil.disk_usage(self.folder).free
        self.health.low_space = free < self.settings.free_bytes
        self._settle()
        self.publisher.step(last=self._background.stopping.is_set())
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
        while self.follower.step() and not self._background.stopping.wait(FOLLOW_PAUSE):
            self.health.worked("follower")  # under load it may not end for long
        # By a clock that leapt every record would have waited too long.
        last = self.log.entry(self.log.head().range.size - 1).recorded
        now = self.tick_clock.read(last)
        self.follower.tidy(now, self.settings.staged_hours * 3600)

    def _scrub(self) -> None:
        if self.settings.scrub_entries and not self._background.stopping.is_set():
            for damage in self.patrol.step(self.settings.scrub_entries):
                LOGGER.error("damaged on the disk: %s", damage)

    def _committed(self, growth: Growth) -> None:
        self.tiles.grow(growth)
        self.health.commits += 1
        self.health.entries += growth.size - growth.old_size

    def _failed(self, name: str, error: Exception) -> None:
        if not isinstance(error, TraceNodeError):
            # After an I/O error nothing that a connection remembers is believed.
            self.engines.center.dispose()
        self.health.failed(name, error)


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
