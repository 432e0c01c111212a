"""The parts of a bundle, read strictly: entries under the head, records by digest."""

from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Final

from trace_node.errors import BadProof, Malformed
from trace_node.ledger.checkpoint import Checkpoint
from trace_node.ledger.tlogproof import encode_proof, parse_proof
from trace_node.trust import base64url
from trace_node.trust.manifest import check_manifest
from trace_node.trust.merkle import HASH_SIZE, check_inclusion, leaf_hash
from trace_node.trust.record import MAX_RECORD, parse_ni
from trace_node.trust.statement import MAX_STATEMENT, Statement, decode_statement
from trace_node.verify.verdict import Head, at, exactly

_ENTRY: Final = frozenset({"index", "proof", "statement"})
_RECORD: Final = frozenset({"bytes", "name"})
_MANIFEST: Final = frozenset({"count", "path", "position", "root"})


@dataclass(frozen=True, slots=True)
class Entry:
    """An entry that is under the head; ``member`` is its JSON object."""

    place: str
    index: int
    statement: Statement
    member: dict[str, Any]


def read_entries(value: object) -> list[Entry]:
    """Return the entries, decoded; entry 0 first, indices rising.

    Raises:
        Malformed: they are not written as centers write them.
    """
    found: list[Entry] = []
    for number, member in enumerate(_list(value, "entries")):
        place = f"entries[{number}]"
        entry = _entry(place, member)
        before = found[-1].index if found else -1
        if entry.index <= before or (not found and entry.index):
            raise Malformed(
                "entry 0 comes first, and indices rise", where=f"{place}.index"
            )
        found.append(entry)
    if not found:
        raise Malformed("entry 0 is missing", where="entries")
    return found


def _entry(place: str, member: object) -> Entry:
    named = {"manifest"} if isinstance(member, dict) and "manifest" in member else ()
    value = exactly(member, _ENTRY | frozenset(named), place)
    index = _count(value["index"], f"{place}.index")
    raw = _bytes(value["statement"], f"{place}.statement", MAX_STATEMENT)
    with at(f"{place}.statement"):
        statement = decode_statement(raw)
    if statement.is_manifest != ("manifest" in value):
        raise Malformed(
            "a manifest's entry says which record it names",
            where=f"{place}.manifest",
        )
    return Entry(place, index, statement, value)


def check_proofs(entries: list[Entry], head: Head, note: bytes) -> None:
    """Check that every entry is under the head.

    Called when the signatures hold: then it is the proof that is at fault, and
    not the statement.

    Raises:
        Malformed: a proof is none.
        BadProof: an entry is not where the bundle says.
    """
    for entry in entries:
        with at(f"{entry.place}.proof"):
            _check_proof(entry, head.checkpoint, note)


def _check_proof(entry: Entry, tree: Checkpoint, note: bytes) -> None:
    text = entry.member["proof"]
    if not isinstance(text, str):
        raise Malformed("the lines of a tlog-proof are needed")
    data = text.encode() + note
    extra, index, path, below = parse_proof(data)
    # Extra data are authenticated by nothing, and a proof has one spelling.
    if extra is not None or encode_proof(index, path, below) != data:
        raise Malformed("not a tlog-proof as centers write it")
    if below != note or index != entry.index:
        raise BadProof("the proof is of another entry or checkpoint")
    leaf = leaf_hash(entry.statement.raw)
    check_inclusion(leaf, index, tree.size, path, tree.root)


def read_records(
    value: object, digest: bytes, entries: list[Entry]
) -> dict[bytes, bytes]:
    """Return the records by digest; each is one that the answer needs."""
    needed = {digest}
    needed |= {e.statement.payload for e in entries if e.statement.governance_type}
    found: dict[bytes, bytes] = {}
    last = b""
    for number, member in enumerate(_list(value, "records")):
        place = f"records[{number}]"
        record = exactly(member, _RECORD, place)
        name = parse_ni(record["name"], where=f"{place}.name")
        data = _bytes(record["bytes"], f"{place}.bytes", MAX_RECORD)
        if (actual := sha256(data).digest()) != name:
            wrong = "name" if actual in needed else "bytes"
            raise BadProof("the bytes have another digest", where=f"{place}.{wrong}")
        if name <= last or name not in needed:
            raise BadProof(
                "out of order, there twice, or needed by nothing",
                where=f"{place}.name",
            )
        found[name] = data
        last = name
    return found


def position_in(entry: Entry, digest: bytes) -> int | None:
    """Return where the entry names the record asked for, None if it does not."""
    if not entry.statement.is_manifest:
        return 0 if entry.statement.payload == digest else None
    place = f"{entry.place}.manifest"
    value = exactly(entry.member["manifest"], _MANIFEST, place)
    path = [
        _bytes(node, f"{place}.path[{number}]", HASH_SIZE)
        for number, node in enumerate(_list(value["path"], f"{place}.path"))
    ]
    position = _count(value["position"], f"{place}.position")
    with at(place):
        check_manifest(
            entry.statement.payload,
            _count(value["count"], "count"),
            _bytes(value["root"], "root", HASH_SIZE),
            position,
            digest,
            path,
        )
    return position


def _list(value: object, where: str) -> list[Any]:
    if not isinstance(value, list):
        raise Malformed("a list is needed", where=where)
    return value


def _count(value: object, where: str) -> int:
    if type(value) is not int or value < 0:
        raise Malformed("a count is needed", where=where)
    return value


def _bytes(value: object, where: str, most: int) -> bytes:
    data = base64url.decode(value, where=where)
    if len(data) > most:
        raise Malformed(f"at most {most} bytes", where=where)
    return data
