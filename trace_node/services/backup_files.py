"""A backup as it lies on a disk: what is in it, and whether it is whole.

    backup.json    the manifest, written last: without it there is no backup
    backup.part    there while a backup is made, or after one was interrupted
    center.db      one instant of the database, a single SQLite file
    head           the checkpoint signed at that instant
    node.toml      settings that are no secrets and no places; policy.txt; keys/
    vault/         records that are files

A backup is a center's folder itself, so `trace-node audit` reads it as it is.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from hashlib import file_digest
from pathlib import Path
from typing import Any

import orjson

from trace_node import __version__
from trace_node.errors import Malformed, Misuse, StoreCorrupt, TraceNodeError
from trace_node.ledger.checkpoint import Checkpoint, open_checkpoint
from trace_node.trust import base64url
from trace_node.trust.strictjson import loads_strict
from trace_node.trust.vkey import VerifierKey, parse_vkey

FORMAT = "trace-node-backup@1"
MANIFEST, PART = "backup.json", "backup.part"
MAX_MANIFEST = 1 << 30  # bytes
DEPTH = 8

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class File:
    """One file of a backup: path below it, bytes, SHA-256."""

    path: str
    size: int
    sha256: bytes


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a backup holds.

    Args:
        origin: the log.
        vkey: its key.
        made: when, RFC 3339.
        size: entries in it.
        root: over them.
        checkpoint: the newest signed head that the backup holds.
        files: all of them but the manifest.
        left_out: what was not copied on purpose, as sentences.
        damaged: files that the database names and the center did not have.
    """

    origin: str
    vkey: str
    made: str
    size: int
    root: bytes
    checkpoint: str
    files: tuple[File, ...]
    left_out: tuple[str, ...] = ()
    damaged: tuple[str, ...] = ()

    def head(self) -> tuple[Checkpoint, bytes] | None:
        """Return the signed head and its note; None if there was none."""
        if not self.checkpoint:
            return None
        note = self.checkpoint.encode()
        return open_checkpoint(note, [self.key()])[0], note

    def key(self) -> VerifierKey:
        """Return the key of the log."""
        return parse_vkey(self.vkey)

    def encode(self) -> bytes:
        """Return the manifest's bytes."""
        members = {
            "format": FORMAT,
            "tool": f"trace-node {__version__}",
            "origin": self.origin,
            "vkey": self.vkey,
            "made": self.made,
            "size": self.size,
            "root": base64url.encode(self.root),
            "checkpoint": self.checkpoint,
            "left_out": list(self.left_out),
            "damaged": list(self.damaged),
            "files": [
                {"path": f.path, "size": f.size, "sha256": f.sha256.hex()}
                for f in self.files
            ],
        }
        return orjson.dumps(members, option=orjson.OPT_SORT_KEYS | orjson.OPT_INDENT_2)


def read_manifest(folder: Path) -> Manifest:
    """Return the manifest of the backup in ``folder``.

    Raises:
        Misuse: there is no backup, or half of one.
        Malformed: the manifest is none.
    """
    path = folder / MANIFEST
    if not path.is_file():
        if (folder / PART).exists():
            raise Misuse(f"{folder} holds half a backup: run `trace-node backup` again")
        raise Misuse(f"{folder} is no backup: it has no {MANIFEST}")
    try:
        value = loads_strict(path.read_bytes(), max_bytes=MAX_MANIFEST)
        return _parse(value)
    except (KeyError, TypeError, ValueError, TraceNodeError) as error:
        raise Malformed(f"no manifest of a backup: {error}", where=str(path)) from None


def _parse(value: Any) -> Manifest:
    if value["format"] != FORMAT:
        raise Malformed(f"its format is {value['format']!r}, not {FORMAT}")
    files = tuple(
        File(_inside(f["path"]), int(f["size"]), bytes.fromhex(f["sha256"]))
        for f in value["files"]
    )
    return Manifest(
        value["origin"],
        value["vkey"],
        value["made"],
        int(value["size"]),
        base64url.decode(value["root"]),
        value["checkpoint"],
        files,
        tuple(value["left_out"]),
        tuple(value["damaged"]),
    )


def _inside(path: str) -> str:
    """Refuse a name that leads out of the folder: a manifest is input, too."""
    parts = Path(path).parts
    if not parts or Path(path).is_absolute() or ".." in parts or len(parts) > DEPTH:
        raise Malformed(f"{path!r} is no file of a backup")
    return path


def digest_of(path: Path) -> tuple[int, bytes]:
    """Return size and SHA-256 of a file."""
    with path.open("rb") as file:
        return path.stat().st_size, file_digest(file, "sha256").digest()


def check_files(folder: Path, manifest: Manifest, progress: Progress) -> None:
    """Read every file of a backup again.

    Raises:
        StoreCorrupt: one is gone or has other bytes.
    """
    for number, file in enumerate(manifest.files):
        path = folder / file.path
        if not path.is_file() or digest_of(path) != (file.size, file.sha256):
            raise StoreCorrupt(
                "not as it was when the backup was made", where=file.path
            )
        progress(number + 1, len(manifest.files))


def listed(folder: Path, names: Iterator[str]) -> tuple[File, ...]:
    """Return files of a backup as its manifest lists them."""
    return tuple(File(name, *digest_of(folder / name)) for name in sorted(names))


def check_database(folder: Path, vkey: str) -> None:
    """Check that the database of a backup is of a log, and as it was made.

    Raises:
        Misuse: no backup, or of another log.
        StoreCorrupt: the database has other bytes.
    """
    manifest = read_manifest(folder)
    if manifest.vkey != vkey:
        raise Misuse(f"{folder} is a backup of another log")
    files = [file for file in manifest.files if file.path == "center.db"]
    check_files(folder, replace(manifest, files=tuple(files)), lambda *_: None)
