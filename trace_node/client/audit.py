"""Audit a center over HTTP: fetch all its entries, re-check every signature.

Only GETs: the checkpoint, entry bundles, hash tiles, governance records. The
server is not trusted: each answer has a greatest size and a time, and what it
says is compared with what the checkpoint signs. Content records stay where they
are; their digests are what the entries sign.
"""

from collections.abc import Callable
from hashlib import sha256
from typing import Final

from trace_node.client.http import Wire
from trace_node.errors import (
    LimitExceeded,
    Malformed,
    NotFound,
    NotVerified,
    Overloaded,
    ReadOnly,
    StoreCorrupt,
    TraceNodeError,
    Unreachable,
    Untrusted,
)
from trace_node.ledger.merkle import CompactRange, grow
from trace_node.ledger.note import MAX_NOTE
from trace_node.ledger.tiles import (
    MAX_ENTRY,
    TILE_WIDTH,
    decode_entries,
    entries_path,
    tile_path,
    tile_root,
    tile_width,
)
from trace_node.trust.base64url import encode as base64url
from trace_node.trust.merkle import HASH_SIZE, leaf_hash
from trace_node.trust.policy import Policy
from trace_node.trust.record import MAX_RECORD
from trace_node.trust.statement import Statement, decode_statement
from trace_node.trust.strictjson import loads_strict
from trace_node.trust.vkey import parse_vkey
from trace_node.verify.identities import Identities
from trace_node.verify.replay import Replay
from trace_node.verify.report import AuditReport
from trace_node.verify.verdict import Head, at, open_head

MAX_ENTRIES: Final = 1 << 26  # more is for an audit of the folder
_MAX_CENTER: Final = 65_536  # bytes of /v1/center
_TILE: Final = TILE_WIDTH * HASH_SIZE
# What a center says that cannot answer now: no finding about its log.
_AWAY: Final = (Unreachable, Overloaded, ReadOnly, StoreCorrupt)

Progress = Callable[[int, int], None]


def audit_url(
    wire: Wire,
    policy: Policy | None,
    *,
    progress: Progress = lambda done, total: None,  # noqa: ARG005 - names for callers
) -> AuditReport:
    """Audit a center; what does not hold is in the report.

    Args:
        wire: the way to it, at its address without ``/log``.
        policy: whom the reader believes. Without one the key is asked of the
            center itself, and the report says so.
        progress: told (done, total) entries now and then.

    Raises:
        Unreachable, Overloaded: the center does not answer, or not as it should.
        TraceNodeError: the checkpoint is not one that the policy believes.
    """
    return _Audit(_Source(wire), policy, progress).run()


class _Source:
    """GETs of a center, each with a greatest size."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire

    def get(self, path: str, most: int) -> bytes:
        """Return the body at ``path``, at most ``most`` bytes.

        Raises:
            Unreachable: no answer, or not one with what every center has.
            Overloaded: patience ended.
            LimitExceeded: more bytes than anything honest has there.
        """
        try:
            return self._wire.request("GET", path, limit=most).body
        except NotFound as error:
            raise Unreachable(error.message, where=path) from None
        except TraceNodeError as error:
            error.where = path
            raise

    def record(self, digest: bytes) -> bytes | None:
        """Return a governance record, None if the center does not hold it.

        A center that is busy or away is not one that hides something.
        """
        path = f"/v1/records/{base64url(digest)}"
        try:
            data = self._wire.request("GET", path, limit=MAX_RECORD).body
        except (NotFound, LimitExceeded):
            return None
        return data if sha256(data).digest() == digest else None


class _Audit:
    """One audit while it runs."""

    def __init__(
        self, source: _Source, policy: Policy | None, progress: Progress
    ) -> None:
        self._source = source
        self._policy = policy
        self._progress = progress
        self._notes: list[str] = [
            (
                "content records and manifests' lists were not fetched; "
                "an audit of the folder checks them"
            )
        ]
        self._range = CompactRange()
        self._roots = bytearray()  # of full tiles of level 0, joined
        self._identities = Identities()

    def run(self) -> AuditReport:
        policy = self._policy or self._asked()
        note = self._source.get("/log/checkpoint", MAX_NOTE)
        with at("/log/checkpoint"):
            head = open_head(note, policy)
        tree = head.checkpoint
        if tree.size > MAX_ENTRIES:
            raise LimitExceeded(f"{tree.size} entries are too many to fetch")
        self._report = AuditReport(tree.origin, notes=self._notes)
        self._find = self._report.findings
        self._replay = Replay(tree.origin, self._source.record)
        for index in range(-(-tree.size // TILE_WIDTH)):
            self._bundle(index, tile_width(0, index, tree.size))
            self._progress(min(tree.size, (index + 1) * TILE_WIDTH), tree.size)
        self._upper_tiles(tree.size)
        self._compare(head)
        return self._report

    def _asked(self) -> Policy:
        """Return a policy of the key that the center itself names."""
        members = loads_strict(self._source.get("/v1/center", _MAX_CENTER))
        vkey = members.get("vkey") if isinstance(members, dict) else None
        if not isinstance(vkey, str):
            raise Malformed("the center names no key", where="/v1/center")
        self._notes.append(
            "the log's key was taken from the center itself: give --policy to "
            "check that it is the right one"
        )
        return Policy(((parse_vkey(vkey), None),), {}, {}, None)

    def _bundle(self, index: int, width: int) -> None:
        """Check one bundle of entries and the hash tile beside it."""
        path = f"/log/{entries_path(index, width)}"
        data = self._source.get(path, TILE_WIDTH * (2 + MAX_ENTRY))
        with at(path):
            entries = decode_entries(data)
        if len(entries) != width:
            raise Malformed(f"{len(entries)} entries, not {width}", where=path)
        leaves = [leaf_hash(entry) for entry in entries]
        self._tile(0, index, b"".join(leaves))
        if width == TILE_WIDTH:
            self._roots += tile_root(b"".join(leaves))
        self._range = grow(self._range, leaves).frontier
        for number, raw in enumerate(entries, index * TILE_WIDTH):
            self._entry(number, raw)
        self._report.counts["entries"] += width

    def _entry(self, index: int, raw: bytes) -> None:
        try:
            statement = decode_statement(raw)
            self._identities.add(statement.identity)
            self._count(statement)
            self._replay.check(index, statement)
        except _AWAY:
            raise
        except TraceNodeError as error:
            self._find.error("entry", f"entry {index}", error)

    def _count(self, statement: Statement) -> None:
        if statement.governance_type is not None:
            self._report.counts["governance"] += 1
        elif statement.is_tick:
            self._report.counts["ticks"] += 1
        elif statement.is_manifest:
            self._report.counts["manifests"] += 1

    def _tile(self, level: int, index: int, tile: bytes) -> None:
        """Compare a hash tile with what the entries make."""
        path = f"/log/{tile_path(level, index, len(tile) // HASH_SIZE)}"
        try:
            if self._source.get(path, _TILE) != tile:
                raise NotVerified("the tile is not what the entries make")
            self._report.counts["tiles"] += 1
        except _AWAY:
            raise
        except TraceNodeError as error:
            self._find.error("tile", path, error)

    def _upper_tiles(self, size: int) -> None:
        level, hashes = 1, bytes(self._roots)
        while tile_width(level, 0, size):
            above = bytearray()
            for index, begin in enumerate(range(0, len(hashes), _TILE)):
                tile = hashes[begin : begin + _TILE]
                self._tile(level, index, tile)
                if len(tile) == _TILE:
                    above += tile_root(tile)
            level, hashes = level + 1, bytes(above)

    def _compare(self, head: Head) -> None:
        report, tree = self._report, head.checkpoint
        report.size, report.root = self._range.size, self._range.root()
        if report.root != tree.root:
            self._find.add("root", "checkpoint", "the entries have another root")
        if self._replay.state.vkey not in {str(key) for key in head.keys}:
            self._find.add("key", "entry 0", "another key signed the checkpoint")
        for identity in self._identities.repeated():
            place = f"identity {identity.hex()}…"
            self._find.add("identity", place, "the statement is there twice")
        if tree.size == 0:
            raise Untrusted("the log is empty: nothing says who keeps it")
        report.counts["keys"] = len(self._replay.state.keys)
        report.counts["parties"] = len(self._replay.state.parties)
        report.notes += [head.check_line(), *head.ignored()]
