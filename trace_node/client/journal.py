"""The memory of an import, so that it can be killed at any moment and run again.

A file per (document, log, party, type). Its first line fixes what the records are
made from (the time above all) and is durable before anything is sent, so a second
run makes the same bytes and the same statements, and the center answers a
statement it knows with its first receipt. The lines behind are
acknowledgements, verified when they were written and used again only if they fit
the statement made now; a line lost in a crash costs a request, nothing else.

    {"format": "trace-node-import@1", "issued": …, "name": …, "batch": …, "kid": …}
    {"manifest": 0, "index": 17, "identity": …, "receipt": …}
"""

import fcntl
import os
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, BinaryIO, Final

import orjson

from trace_node.errors import Conflict, Malformed, Misuse
from trace_node.trust import base64url

FORMAT: Final = "trace-node-import@1"
_HEADER: Final = {
    "format": str,
    "document": str,
    "issued": str,
    "name": str,
    "batch": int,
    "kid": str,
}


@dataclass(frozen=True, slots=True)
class Plan:
    """What the records of one document are made from.

    Args:
        document: SHA-256 of the file.
        issued: when the import was begun, RFC 3339 UTC.
        name: of the file then.
        batch: the most records under one signature.
        kid: thumbprint of the signing key, base64url.
    """

    document: bytes
    issued: str
    name: str
    batch: int
    kid: str


@dataclass(frozen=True, slots=True)
class Ack:
    """The center has this manifest, with this receipt, verified when written."""

    index: int
    identity: bytes
    receipt: bytes


class Journal:
    """One open journal, locked against a second import of the same document."""

    def __init__(self, folder: Path, parts: Sequence[bytes], plan: Plan) -> None:
        """Open the journal, or begin it with ``plan``.

        Args:
            folder: where journals are kept; made if need be.
            parts: what tells imports apart: document digest, log, party, type.
            plan: for a new import; an old one keeps its own.

        Raises:
            Misuse: the same import is running, or the journal cannot be written.
            Conflict: it was begun with another key.
        """
        framed = b"".join(len(part).to_bytes(8) + part for part in parts)
        self.path = folder / f"{sha256(framed).hexdigest()}.ndjson"
        self.acks: dict[int, Ack] = {}
        try:
            _make_folder(folder)
            self._file: BinaryIO = self.path.open("a+b", buffering=0)
        except OSError as error:
            raise self._unwritten(error) from None
        try:
            self._lock()
            self.plan = self._begin(plan)
            self._make_durable()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Close the file; the lock goes with it."""
        self._file.close()

    def add(self, manifest: int, ack: Ack) -> None:
        """Remember that manifest number ``manifest`` is registered.

        Not synced: a line lost in a power cut is asked for again.

        Raises:
            Misuse: it cannot be written; the next run asks for it again.
        """
        self._append(
            {
                "manifest": manifest,
                "index": ack.index,
                "identity": base64url.encode(ack.identity),
                "receipt": base64url.encode(ack.receipt),
            }
        )

    def _append(self, members: dict[str, Any]) -> None:
        """Write one line whole, or raise; the next run cuts off half a line."""
        left = memoryview(orjson.dumps(members) + b"\n")
        try:
            while left:  # a disk that fills up takes a part first, and says so later
                left = left[self._file.write(left) :]
        except OSError as error:
            raise self._unwritten(error) from None

    def _lock(self) -> None:
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Misuse(f"the same import is running ({self.path})") from None
        except OSError as error:
            raise self._unwritten(error) from None

    def _unwritten(self, error: OSError) -> Misuse:
        return Misuse(f"cannot write {self.path}: {error.strerror}")

    def _begin(self, plan: Plan) -> Plan:
        """Return the plan in force; cut off what a crash left half written."""
        self._file.seek(0)
        data = self._file.read()
        whole = data[: data.rfind(b"\n") + 1]
        if len(whole) < len(data):
            self._file.truncate(len(whole))
        head, *lines = whole.split(b"\n")
        if not head:
            self._file.truncate(0)
            self._append(_members(plan))
            return plan
        known = self._plan(head)
        if known.kid != plan.kid:
            error = Conflict(
                f"this file's import was begun with the key {known.kid}",
                where=str(self.path),
            )
            error.help = "Finish it with that key, or delete the journal to begin anew."
            raise error
        for line in lines[:-1]:
            self._ack(line)
        return known

    def _make_durable(self) -> None:
        """Sync the plan, also an earlier run's: it may have died before it did.

        Without it, a power cut after this run's first request could lose the time
        that the records carry, and the next run would register all of them again.
        """
        try:
            os.fsync(self._file.fileno())
            _sync(self.path.parent)
        except OSError as error:
            raise self._unwritten(error) from None

    def _plan(self, head: bytes) -> Plan:
        try:
            members = orjson.loads(head)
            kinds = {name: type(value) for name, value in members.items()}
            if kinds == _HEADER and members.pop("format") == FORMAT:
                document = base64url.decode(members.pop("document"), size=32)
                return Plan(document, **members)
        except (orjson.JSONDecodeError, AttributeError, Malformed):
            pass
        raise Malformed("this is no import journal", where=f"{self.path}, line 1")

    def _ack(self, line: bytes) -> None:
        """Take in one acknowledgement; a damaged one counts as none."""
        try:
            members = orjson.loads(line)
            self.acks[int(members["manifest"])] = Ack(
                int(members["index"]),
                base64url.decode(members["identity"]),
                base64url.decode(members["receipt"]),
            )
        except (KeyError, TypeError, ValueError, OverflowError, Malformed):
            return


def _members(plan: Plan) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "document": base64url.encode(plan.document),
        "issued": plan.issued,
        "name": plan.name,
        "batch": plan.batch,
        "kid": plan.kid,
    }


def _make_folder(folder: Path) -> None:
    if not folder.is_dir():
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        _sync(folder.parent)


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
