"""Files that must still be there after a power cut.

The order is always: write a temporary file in the same folder, fsync it, rename
it, fsync the folder. A crash leaves the old file, or the new one, and perhaps a
stray ``.tmp``; never half a file under its right name.
"""

import os
import secrets
from collections.abc import Iterable
from pathlib import Path


def sync_folder(folder: Path) -> None:
    """Make the names in ``folder`` durable."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def make_folder(folder: Path, *, mode: int = 0o755) -> None:
    """Make ``folder`` and its parents, durably."""
    missing = []
    while not folder.is_dir():
        missing.append(folder)
        folder = folder.parent
    for part in reversed(missing):
        part.mkdir(mode=mode, exist_ok=True)
        sync_folder(part.parent)


def write_file(path: Path, data: bytes, *, mode: int = 0o644) -> None:
    """Write ``data`` as ``path``, whole and durable or not at all."""
    write_files([(path, data)], mode=mode)


def write_files(files: Iterable[tuple[Path, bytes]], *, mode: int = 0o644) -> None:
    """Write several files; each folder is synced once, after all of its files."""
    folders = set()
    for path, data in files:
        make_folder(path.parent)
        temporary = path.parent / f".{path.name}.{secrets.token_hex(4)}.tmp"
        handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            temporary.rename(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        folders.add(path.parent)
    for folder in folders:
        sync_folder(folder)
