"""One process of an audit: re-checks stretches of a log on its own connection.

Imports little on purpose, for every process pays for it. What a stretch needs of
the others (keys and when they were in force) comes in; what the others need of it
(leaf hashes, identities, governance entries, first and last tick) goes out.
"""

from collections import Counter
from dataclasses import dataclass
from hashlib import sha256

from trace_node.errors import NotVerified, Refused, StoreCorrupt, TraceNodeError
from trace_node.ledger.merkle import CompactRange
from trace_node.ledger.receipt import receipt_protected
from trace_node.ledger.tiles import TILE_WIDTH, tile_root
from trace_node.services.audit_index import check_index
from trace_node.services.audit_stretch import (
    GOVERNANCE,
    MANIFEST,
    TICK,
    Stretch,
    clock,
    compare_tiles,
    dated,
    gap,
    kind_of,
)
from trace_node.store.blobs import vault_name
from trace_node.store.place import Place
from trace_node.trust import cbor
from trace_node.trust.govstate import KeyState
from trace_node.trust.keys import ED25519, ESP256, PublicKey
from trace_node.trust.manifest import manifest_preimage
from trace_node.trust.merkle import HASH_SIZE, node_hash
from trace_node.trust.statement import Statement, decode_statement, verify_statement
from trace_node.trust.tick import check_tick
from trace_node.verify.report import Findings

TILE = TILE_WIDTH * HASH_SIZE  # bytes of a full tile
_ALGS = {"Ed25519": ED25519, "P-256": ESP256}


@dataclass(frozen=True, slots=True)
class Job:
    """What every process knows: where the center is, and whose keys count.

    ``keys`` is what the governance records say after the last entry; since a key
    has one owner, one use and one life, it tells for every index who might sign
    there. ``signatures`` of content and ticks are left out by a scrub: the tree covers
    their bytes.
    """

    place: Place
    origin: str
    operator: str
    keys: dict[bytes, KeyState]
    signatures: bool = True


class Worker:
    """Checks stretches of entries, heads and records of one center."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._scan = job.place.scan()
        self._blobs = job.place.open_blobs(job.origin)
        self._unverified: list[tuple[int, Statement, PublicKey]] = []
        self._headers = {
            receipt_protected(
                _ALGS[key.public.curve], kid, job.operator, job.origin
            ): key
            for kid, key in job.keys.items()
            if key.use == "receipt"
        }

    def close(self) -> None:
        """Close the connections."""
        self._scan.close()
        self._blobs.close()

    def entries(self, begin: int, end: int) -> Stretch:
        """Check the entries [begin, end); ``begin`` starts a tile."""
        found = Stretch(begin)
        try:
            manifests = self._scan.manifests(begin, end)
            expected = begin
            for index, kind, recorded, identity, raw in self._scan.entries(begin, end):
                while expected < index:
                    gap(found, expected)
                    expected += 1
                self._entry(found, index, kind, recorded, identity, raw, manifests)
                expected += 1
        except StoreCorrupt as error:
            found.findings.error("database", f"entries {begin} to {end}", error)
        self._signatures(found)
        for index in range(begin + len(found.leaves) // HASH_SIZE, end):
            gap(found, index)
        for index in manifests:
            found.findings.add(
                "manifest", f"entry {index}", "a record list, but no manifest"
            )
        self._tiles(found)
        return found

    def _entry(
        self,
        found: Stretch,
        index: int,
        kind: int,
        recorded: int,
        identity: bytes,
        raw: bytes,
        manifests: dict[int, bytes],
    ) -> None:
        found.leaves += sha256(b"\0" + raw).digest()
        found.read += len(raw)
        try:
            statement = decode_statement(raw)
        except TraceNodeError as error:
            found.identities += sha256(raw).digest()
            found.findings.error("statement", f"entry {index}", error)
            return
        found.identities += statement.identity
        if statement.identity != identity:
            found.findings.add(
                "identity", f"entry {index}", "the column is not the statement's"
            )
        actual = kind_of(statement)
        if actual == GOVERNANCE:  # its signature is checked by the fold
            found.governance.append(index)
            if index == 0:
                clock(found, index, statement.iat or 0)
        if actual != kind:
            message = f"the column says {kind}, the bytes say {actual}"
            found.findings.add("kind", f"entry {index}", message)
        try:
            if actual == TICK:
                clock(found, index, check_tick(statement))
            if actual != GOVERNANCE:
                self._check(statement, index, actual)
        except TraceNodeError as error:
            found.findings.error("entitlement", f"entry {index}", error)
        if actual == MANIFEST:
            self._manifest(found, index, statement, manifests.pop(index, None))
        dated(found, index, recorded)

    def _check(self, statement: Statement, index: int, kind: int) -> None:
        """Check who may sign content and ticks at ``index``; verify them later."""
        key = self._job.keys.get(statement.kid)
        if key is None:
            raise Refused("this log knows no such key", where="kid")
        if index <= key.since or (key.until is not None and index >= key.until):
            raise Refused("the key was not in force", where="kid")
        if key.use != ("center" if kind == TICK else "party"):
            raise Refused(f"a {key.use} key does not sign this", where="kid")
        if key.did != statement.iss:
            raise Refused("the key belongs to another party", where="iss")
        if statement.aud != self._job.origin:
            raise Refused("made for another log", where="aud")
        if self._job.signatures:
            self._unverified.append((index, statement, key.public))

    def _signatures(self, found: Stretch) -> None:
        """Verify what has gathered.

        Apart from the decoding, because interpreter and curve arithmetic push
        each other out of the processor's caches: a sixth of the whole time.
        """
        for index, statement, public in self._unverified:
            try:
                verify_statement(statement, public)
            except NotVerified as error:
                found.findings.error("signature", f"entry {index}", error)
        self._unverified.clear()

    def _manifest(
        self, found: Stretch, index: int, statement: Statement, joined: bytes | None
    ) -> None:
        if joined is None:
            found.counts["manifests without their list"] += 1
            return
        found.counts["manifests"] += 1
        found.read += len(joined)
        try:
            digests = [
                joined[at : at + HASH_SIZE] for at in range(0, len(joined), HASH_SIZE)
            ]
            if sha256(manifest_preimage(digests)).digest() != statement.payload:
                raise NotVerified("the record list is not the one that was signed")
        except TraceNodeError as error:
            found.findings.error("manifest", f"entry {index}", error)

    def _tiles(self, found: Stretch) -> None:
        """Compare full tiles with their blobs; a missing one is made again."""
        leaves = bytes(found.leaves)
        ends = range(0, len(leaves) // TILE * TILE, TILE)
        tiles = [leaves[at : at + TILE] for at in ends]
        found.tiles += b"".join(map(tile_root, tiles))
        compare_tiles(self._blobs, 0, found.begin // TILE_WIDTH, tiles, found)

    def heads(self, begin: int, nodes: tuple[bytes, ...], leaves: bytes) -> Findings:
        """Check the heads signed while ``leaves`` came after ``begin`` entries.

        Args:
            begin: entries before.
            nodes: of the compact range over them.
            leaves: hashes of the entries that follow, joined.
        """
        findings = Findings()
        edge, size = list(nodes), begin
        end = begin + len(leaves) // HASH_SIZE
        try:
            before = self._scan.head_before(begin)
            for at, root, protected, signature in self._scan.heads(begin, end):
                for number in range(size, at):
                    place = (number - begin) * HASH_SIZE
                    _append(edge, number, leaves[place : place + HASH_SIZE])
                size = at
                try:
                    if CompactRange(size, tuple(edge)).root() != root:
                        raise NotVerified("the entries have another root")
                    self._receipt(before, size, root, protected, signature)
                except TraceNodeError as error:
                    findings.error("head", f"head {at}", error)
                before = at
        except StoreCorrupt as error:
            findings.error("database", f"heads after {begin}", error)
        return findings

    def _receipt(
        self, before: int, size: int, root: bytes, protected: bytes, signature: bytes
    ) -> None:
        """Check the signature that all receipts of one commit share."""
        key = self._headers.get(protected)
        if key is None or key.since >= size:
            raise Refused("no receipt key of this log signed it", where="receipt")
        # A key that ended within the commit before may have signed this one still.
        if key.until is not None and key.until < before:
            raise Refused("the receipt key was not in force", where="receipt")
        signed = cbor.encode(["Signature1", protected, b"", root])  # RFC 9052 §4.4
        key.public.verify(_ALGS[key.public.curve], signature, signed)

    def records(self, low: bytes, high: bytes) -> tuple[Counter[str], Findings, int]:
        """Check every record with a digest in [low, high), rows and blobs.

        Returns:
            Counts, findings, and how many bytes were read.
        """
        counts: Counter[str] = Counter()
        findings = Findings()
        read = 0
        try:
            for digest, size, content in self._scan.records(low, high):
                place, data = f"record {digest.hex()}", content
                if data is None:
                    place = vault_name(digest)
                    data = self._blobs.get(place) or b""
                    counts["vault files"] += 1
                counts["records"] += 1
                read += len(data)
                if sha256(data).digest() != digest or len(data) != size:
                    message = "the bytes are gone or have another digest or size"
                    findings.add("record", place, message)
        except StoreCorrupt as error:
            findings.error("database", f"records from {low.hex()}", error)
        return counts, findings, read

    def indexed(self, begin: int, end: int) -> tuple[int, Findings]:
        """Compare the index database with the entries [begin, end)."""
        index = self._job.place.index()
        if index is None:
            return 0, Findings()
        try:
            return check_index(self._scan, index, self._blobs, begin, end)
        finally:
            index.close()


def _append(edge: list[bytes], size: int, leaf: bytes) -> None:
    """Append a leaf to the nodes of a compact range of ``size`` leaves."""
    while size & 1:
        leaf = node_hash(edge.pop(), leaf)
        size >>= 1
    edge.append(leaf)


_worker: Worker | None = None


def start(job: Job) -> None:
    """Open this process's connection; called once when it begins."""
    global _worker  # noqa: PLW0603 - one process serves one audit
    _worker = Worker(job)


def call(name: str, *values: object) -> object:
    """Run a method of this process's worker."""
    return getattr(_worker, name)(*values)


def ready() -> None:
    """Do nothing: the call that lets a process start."""
