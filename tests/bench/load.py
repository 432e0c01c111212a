"""A lean HTTP/1.1 load: closed-loop clients on keep-alive connections.

Run as its own process, pinned to a core of its own, so that what it costs is
not the server's. Statements come as length-prefixed bytes on standard input;
one JSON line with the figures, and the receipts asked for, go out.
"""

import asyncio
import base64
import json
import sys
import time


class Client(asyncio.Protocol):
    def __init__(self, host, work, times, answers, done):
        self.head = f"POST /entries HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/cose\r\nContent-Length: ".encode()
        self.work, self.times, self.answers, self.done = work, times, answers, done
        self.buffer = b""

    def connection_made(self, transport):
        self.transport = transport
        self.next()

    def next(self):
        try:
            self.number, body = next(self.work)
        except StopIteration:
            self.transport.close()
            self.done()
            return
        self.sent = time.perf_counter()
        self.transport.write(self.head + b"%d\r\n\r\n" % len(body) + body)

    def data_received(self, data):
        buffer = self.buffer = self.buffer + data
        end = buffer.find(b"\r\n\r\n")
        if end < 0:
            return
        head = buffer[:end].lower()
        at = head.index(b"content-length:") + 15
        stop = head.find(b"\r", at)
        length = int(head[at : stop if stop > 0 else None])
        if len(buffer) < end + 4 + length:
            return
        self.times.append(time.perf_counter() - self.sent)
        status = int(head[9:12])
        self.answers.append((self.number, status, buffer[end + 4 : end + 4 + length]))
        self.buffer = b""
        self.next()


async def run(port, clients, statements):
    loop = asyncio.get_running_loop()
    times, answers, left = [], [], clients
    finished = asyncio.Event()

    def done():
        nonlocal left
        left -= 1
        if not left:
            finished.set()

    work = iter(enumerate(statements))
    begin = time.perf_counter()
    for _ in range(clients):
        await loop.create_connection(
            lambda: Client("127.0.0.1", work, times, answers, done), "127.0.0.1", port
        )
    await finished.wait()
    return time.perf_counter() - begin, times, answers


def read_statements(stream):
    statements = []
    while size := stream.read(4):
        statements.append(stream.read(int.from_bytes(size)))
    return statements


def main():
    port, clients, sample = map(int, sys.argv[1:4])
    statements = read_statements(sys.stdin.buffer)
    seconds, times, answers = asyncio.run(run(port, clients, statements))
    times.sort()
    report = {
        "count": len(answers),
        "seconds": seconds,
        "rate": len(answers) / seconds,
        "p50_ms": times[len(times) // 2] * 1e3,
        "p99_ms": times[int(len(times) * 0.99)] * 1e3,
        "max_ms": times[-1] * 1e3,
        "refused": sum(status != 201 for _, status, _ in answers),
        "receipts": [
            [number, base64.b64encode(body).decode()]
            for number, status, body in answers[:: max(1, len(answers) // sample)]
            if status == 201
        ],
    }
    print(json.dumps(report))


if __name__ == "__main__":
    main()
