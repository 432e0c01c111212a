"""Blobs as objects of an S3 bucket, through obstore.

Durable means what S3 promises: an object whose PUT was answered is kept.
``If-None-Match: *`` saves writing what is there; a server that does not know it
(501) is remembered and written to plainly. Order never depends on it.

A bucket that does not answer must not take the center with it. A call ends
within twice ``timeout``; few calls wait at a time; after a failure all fail at once
for ``PAUSE`` seconds, then one call tries. What obstore says is never passed
on, for a server's answer may quote credentials: only status and error code are.

Credentials come from the environment as obstore reads it (AWS_ACCESS_KEY_ID,
AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN; web identity; container and instance
metadata), never from the URL.
"""

import os
import re
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from threading import BoundedSemaphore, Lock
from typing import TypeVar

import obstore
from obstore.exceptions import AlreadyExistsError, BaseError, NotSupportedError
from obstore.store import S3Store

from trace_node.errors import BlobsDown, Misuse
from trace_node.store.blobs_url import Place, parse_url

PAUSE = 5.0  # seconds without a try after the store did not answer
CHECK = 10.0  # seconds between looks at a store that nobody calls
PATIENCE = 1.0  # seconds to wait for a turn
AT_ONCE = 16  # requests that one call makes side by side
LIMIT = 4 << 20  # bytes; nothing written here is as large
RETRIES = 2
_STATUS = re.compile(r"status code: ([1-5]\d\d)\b")
_CODE = re.compile(r"<Code>([A-Za-z]{1,64})</Code>")
_NOT_IMPLEMENTED, _TOO_MANY, _SERVER = 501, 429, 500
_I = TypeVar("_I")
_T = TypeVar("_T")


def open_s3(url: str, origin: str) -> "S3Blobs":
    """Return the blobs of the log ``origin`` under ``url``, without a request.

    Raises:
        Misuse: the URL does not say where, or obstore does not take it.
    """
    place = parse_url(url)
    root = f"{place.prefix}/{origin}/".lstrip("/")
    return S3Blobs(_store(place), root, create=place.create)


def _store(place: Place) -> S3Store:
    config: dict[str, str | bool] = {
        # One request an object: bulk deletion is what other servers leave out.
        "disable_bulk_delete": True,
        "virtual_hosted_style_request": place.virtual,
    }
    config |= {"endpoint": place.endpoint} if place.endpoint else {}
    config |= {"region": place.region} if place.region else {}
    span = timedelta(seconds=place.timeout)
    try:
        return S3Store(
            place.bucket,
            config=config,  # type: ignore[arg-type] # built up, so not a literal
            client_options={
                "timeout": span,
                "connect_timeout": min(span, timedelta(seconds=2)),
                "allow_http": place.endpoint.startswith("http://"),
            },
            retry_config={
                "max_retries": RETRIES,
                "retry_timeout": span,
                "backoff": {
                    "init_backoff": timedelta(milliseconds=100),
                    "max_backoff": timedelta(seconds=1),
                    "base": 2,
                },
            },
        )
    except (BaseError, ValueError) as error:
        kind = type(error).__name__  # its text may quote the environment
        raise Misuse(f"setting blobs: obstore does not take it ({kind})") from None


class S3Blobs:
    """Objects below ``root`` of one bucket."""

    far = True

    def __init__(
        self,
        store: S3Store,
        root: str,
        *,
        create: bool = True,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Keep objects under ``root``.

        Args:
            store: the bucket.
            root: ends with a slash; in front of every name.
            create: try create-only writes.
            clock: seconds that only rise.
        """
        self._store = store
        self._root = root
        self._create_only = create
        self._clock = clock
        self._lock = Lock()
        self._pool = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="blobs")
        # Requests of the API wait in the event loop's pool of cores + 4 threads:
        # two of these stores (tiles, vault) may hold two thirds of it, no more.
        threads = min(32, (os.cpu_count() or 1) + 4)
        self._turns = BoundedSemaphore(max(2, threads // 3))
        self._trouble = ""  # why the last call failed, empty if it did not
        self._again = 0.0  # when the next call may try in spite of it
        self._looked = -CHECK

    def create(self, blobs: Iterable[tuple[str, bytes]]) -> list[str]:
        """Put each object unless there is one."""
        return [name for name in self._each(self._create, blobs) if name]

    def _create(self, blob: tuple[str, bytes]) -> str:
        name, data = blob
        if self._create_only:
            try:
                self._put(name, data, "create")
            except AlreadyExistsError:
                # Or a retried PUT met itself, or (409) another one that may fail.
                return name
            except NotSupportedError:
                self._create_only = False
            except BaseError as error:
                if _status(error) != _NOT_IMPLEMENTED:
                    raise
                self._create_only = False
            else:
                return ""
        self._put(name, data, "overwrite")
        return ""

    def _put(self, name: str, data: bytes, mode: str) -> None:
        obstore.put(
            self._store,
            self._root + name,
            data,
            mode="create" if mode == "create" else "overwrite",
            use_multipart=False,
        )

    def replace(self, blobs: Iterable[tuple[str, bytes]]) -> None:
        """Put each object."""
        self._each(self._replace, blobs)

    def _replace(self, blob: tuple[str, bytes]) -> None:
        self._put(*blob, "overwrite")

    def get(self, name: str) -> bytes | None:
        """Get an object's bytes."""
        return self._call(lambda: self._get(name))

    def get_all(self, names: Sequence[str]) -> list[bytes | None]:
        """Get objects side by side."""
        return self._each(self._get, names)

    def _get(self, name: str) -> bytes | None:
        try:
            found = obstore.get(self._store, self._root + name)
            if found.meta["size"] > LIMIT:
                return b""  # wrong for every name, as the object is
            return bytes(found.bytes())
        except FileNotFoundError as error:
            _no_bucket(error)
            return None

    def exists(self, name: str) -> bool:
        """Ask whether there is an object."""
        return self._call(lambda: self._head(name))

    def _head(self, name: str) -> bool:
        try:
            obstore.head(self._store, self._root + name)
        except FileNotFoundError:
            # An answer to HEAD has no body; only a GET tells of a missing bucket.
            return self._get(name) is not None
        return True

    def delete(self, names: Sequence[str]) -> None:
        """Delete objects."""
        self._each(self._delete, names)

    def _delete(self, name: str) -> None:
        try:
            obstore.delete(self._store, self._root + name)
        except FileNotFoundError as error:
            _no_bucket(error)

    def names(self, under: str) -> Iterator[str]:
        """List the objects' names, a page a request."""
        stream = obstore.list(self._store, self._root + under, chunk_size=1000)
        while page := self._call(lambda: next(stream, None)):
            for meta in page:
                yield meta["path"].removeprefix(self._root)

    def check(self) -> None:
        """Look whether the bucket answers, now and then, or while it did not."""
        with self._lock:
            due = self._trouble or self._clock() >= self._looked + CHECK
        if due:
            self._looked = self._clock()
            self.exists("tile/0/000")

    def close(self) -> None:
        """End the threads."""
        self._pool.shutdown()

    def _each(self, work: Callable[[_I], _T], items: Iterable[_I]) -> list[_T]:
        """Do ``work`` for each item, side by side; the first failure is told."""
        listed = list(items)
        if not listed:
            return []
        if len(listed) == 1:
            return [self._call(lambda: work(listed[0]))]
        return self._call(lambda: list(self._pool.map(work, listed)))

    def _call(self, work: Callable[[], _T]) -> _T:
        self._enter()
        try:
            result = work()
        except (BaseError, OSError) as error:
            raise self._failed(error) from None
        finally:
            self._turns.release()
        self._trouble = ""
        return result

    def _enter(self) -> None:
        with self._lock:
            now = self._clock()
            if self._trouble:
                if now < self._again:
                    raise BlobsDown(self._trouble)
                self._again = now + PAUSE  # this call tries, the others do not wait
        if not self._turns.acquire(timeout=PATIENCE):
            raise BlobsDown("too many wait for the object store")

    def _failed(self, error: Exception) -> BlobsDown:
        status, code = _status(error), _CODE.search(str(error))
        if not status:
            message = "the object store does not answer"
        else:
            message = f"the object store answers {status}"
            message += f" {code[1]}" if code else ""
        if not status or status >= _SERVER or status == _TOO_MANY:
            with self._lock:
                self._trouble, self._again = message, self._clock() + PAUSE
        return BlobsDown(message)


def _status(error: Exception) -> int:
    """Return the HTTP status that obstore's error tells of, 0 for none."""
    found = _STATUS.search(str(error))
    return int(found[1]) if found else 0


def _no_bucket(error: FileNotFoundError) -> None:
    """Raise ``error`` again when the bucket is missing, not the object in it.

    Or a mistyped bucket would look like a vault whose records are all gone.
    """
    if "<Code>NoSuchBucket</Code>" in str(error):
        raise error
