"""Bytes under a name beside the database: in the center's folder, or on S3.

Hash tiles and large records are kept here, and nothing that order depends on.
Names are made by this project from numbers and digests: tiles ``tile/…`` as
C2SP tlog-tiles writes them, records ``vault/ab/cd/<digest in hex>``. Nothing
that comes back is believed: the vault hashes it, the tiles are compared with
the tree.
"""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Protocol

from trace_node.errors import Misuse
from trace_node.store.files import sync_folder, write_files

Blob = tuple[str, bytes]  # name, bytes


class BlobStore(Protocol):
    """What tiles and vault need of the place their bytes are in.

    Safe to use from several threads. Every method may raise ``BlobsDown``
    where the place is another machine, ``OSError`` where it is this one.

    Attributes:
        far: every call costs a round trip, so the database is asked first for
            what it can make itself.
    """

    far: bool

    def create(self, blobs: Iterable[Blob]) -> list[str]:
        """Write what is not there yet, durably on return.

        Returns:
            The names left alone, because there may be something under them
            already. What it is nobody looked at.
        """

    def replace(self, blobs: Iterable[Blob]) -> None:
        """Write, whatever was there, durably on return."""

    def get(self, name: str) -> bytes | None:
        """Return the bytes, unchecked; None where there are none."""

    def get_all(self, names: Sequence[str]) -> list[bytes | None]:
        """Return what ``get`` returns for each name, perhaps faster."""

    def exists(self, name: str) -> bool:
        """Say whether there is something under ``name``."""

    def delete(self, names: Sequence[str]) -> None:
        """Remove; nothing there is no error."""

    def names(self, under: str) -> Iterator[str]:
        """Yield every name below the folder ``under``, in no order."""

    def check(self) -> None:
        """Raise ``BlobsDown`` if the place is known, or found, not to answer."""

    def close(self) -> None:
        """Give back what is held."""


def write_sound(blobs: BlobStore, wanted: Sequence[Blob]) -> None:
    """Make each name hold exactly these bytes, durably on return.

    What is there already is read and compared, and replaced if it differs: a
    copy that was damaged at rest is mended by whoever brings the bytes again.
    """
    there = blobs.create(wanted)
    if there:
        given = dict(wanted)
        found = blobs.get_all(there)
        wrong = [n for n, data in zip(there, found, strict=True) if data != given[n]]
        blobs.replace((name, given[name]) for name in wrong)


class FileBlobs:
    """Blobs as files below a folder (``store.files`` says what a crash leaves)."""

    far = False

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def create(self, blobs: Iterable[Blob]) -> list[str]:
        """Write the files that are not there."""
        there: list[str] = []
        write_files(self._missing(blobs, there))
        # A writer beside us may have renamed one and not synced its folder yet.
        for folder in {(self._folder / name).parent for name in there}:
            sync_folder(folder)
        return there

    def _missing(
        self, blobs: Iterable[Blob], there: list[str]
    ) -> Iterator[tuple[Path, bytes]]:
        for name, data in blobs:
            path = self._folder / name
            if path.exists():
                there.append(name)
            else:
                yield path, data

    def replace(self, blobs: Iterable[Blob]) -> None:
        """Write the files."""
        write_files((self._folder / name, data) for name, data in blobs)

    def get(self, name: str) -> bytes | None:
        """Return a file's bytes."""
        try:
            return (self._folder / name).read_bytes()
        except FileNotFoundError:
            return None

    def get_all(self, names: Sequence[str]) -> list[bytes | None]:
        """Return the files' bytes."""
        return [self.get(name) for name in names]

    def exists(self, name: str) -> bool:
        """Say whether the file is there."""
        return (self._folder / name).exists()

    def delete(self, names: Sequence[str]) -> None:
        """Unlink the files; after a crash some may be back, which misleads nobody."""
        for name in names:
            (self._folder / name).unlink(missing_ok=True)

    def names(self, under: str) -> Iterator[str]:
        """Yield the files' names; what a crash left half written is none."""
        for path in (self._folder / under).rglob("*"):
            if path.is_file() and path.suffix != ".tmp":
                yield path.relative_to(self._folder).as_posix()

    def check(self) -> None:
        """Do nothing: a folder that is gone shows where it is used."""

    def close(self) -> None:
        """Do nothing: no file stays open."""


def open_blobs(url: str, folder: Path, origin: str) -> BlobStore:
    """Return where the center in ``folder`` keeps its blobs.

    Cheap and without a request, so that every process may open its own.

    Args:
        url: empty for the folder itself, else ``s3://BUCKET[/PREFIX][?…]``.
        folder: the center's folder.
        origin: of its log; names the center's own part of a shared bucket.

    Raises:
        Misuse: the URL is none of these, or the S3 client is not installed.
    """
    if not url:
        return FileBlobs(folder)
    if not url.startswith("s3://"):
        raise Misuse("setting blobs: empty, or s3://BUCKET[/PREFIX]")
    try:
        from trace_node.store.blobs_s3 import (  # noqa: PLC0415 - an extra, 15 MB
            open_s3,
        )
    except ModuleNotFoundError as error:
        if error.name != "obstore":
            raise
        raise Misuse(
            "setting blobs: S3 needs the extra: pip install 'trace-node[s3]'"
        ) from None
    return open_s3(url, origin)


class Places:
    """The two places of a center: that of the tiles and that of the vault.

    Two, so that many who wait for large records leave the tiles alone.
    """

    def __init__(self, url: str, folder: Path, origin: str) -> None:
        """Open both; arguments and errors are those of ``open_blobs``."""
        self.tiles = open_blobs(url, folder, origin)
        self.vault = open_blobs(url, folder, origin)

    def check(self) -> None:
        """Raise ``BlobsDown`` if one of them does not answer."""
        self.tiles.check()
        self.vault.check()

    def close(self) -> None:
        """Give back what is held."""
        self.tiles.close()
        self.vault.close()


def vault_name(digest: bytes) -> str:
    """Return the name of the blob that holds a large record."""
    name = digest.hex()
    return f"vault/{name[:2]}/{name[2:4]}/{name}"
