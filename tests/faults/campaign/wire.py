"""A client of a few lines, over sockets: what it sends and sees is all there is."""

import asyncio
from dataclasses import dataclass


class Gone(Exception):  # noqa: N818 - it is what happened
    """The server closed, reset or never took the connection."""


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    headers: dict
    body: bytes


class Caller:
    """One keep-alive connection to a port that may change; reconnects by itself."""

    def __init__(self, port_of):
        self._port_of = port_of
        self._port = None
        self._streams = None

    async def call(self, method, path, body=b"", media="", patience=30.0):
        """Return the answer.

        Raises:
            Gone: the connection broke, or there was none.
            TimeoutError: no whole answer within ``patience`` seconds.
        """
        try:
            async with asyncio.timeout(patience):
                return await self._call(method, path, body, media)
        except (OSError, EOFError, ValueError) as error:
            self.close()
            if isinstance(error, TimeoutError):
                raise
            raise Gone(str(error)) from None
        except asyncio.CancelledError:
            self.close()
            raise

    async def _call(self, method, path, body, media):
        reader, writer = await self._connect()
        head = f"{method} {path} HTTP/1.1\r\nHost: x\r\n"
        if method in {"POST", "PUT"}:
            head += f"Content-Type: {media}\r\nContent-Length: {len(body)}\r\n"
        writer.write(head.encode() + b"\r\n" + body)
        answer = await read_answer(reader)
        if answer.headers.get(b"connection") == b"close":
            self.close()
        return answer

    async def _connect(self):
        port = self._port_of()
        if port is None:
            raise Gone("no server")
        if self._streams is None or self._port != port:
            self.close()
            self._streams = await asyncio.open_connection("127.0.0.1", port)
            self._port = port
        return self._streams

    def close(self):
        if self._streams is not None:
            self._streams[1].transport.abort()
            self._streams = None


async def read_answer(reader):
    """Read one answer with a length."""
    head = await reader.readuntil(b"\r\n\r\n")
    lines = head.split(b"\r\n")
    headers = dict(line.lower().split(b": ", 1) for line in lines[1:] if b": " in line)
    body = await reader.readexactly(int(headers.get(b"content-length", b"0")))
    return Answer(int(lines[0].split()[1]), headers, body)
