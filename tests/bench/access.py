"""What naming and counting a request costs, beside what registering one takes.

``python -m tests.bench.access``; microseconds a request, least of five runs.
"""

import asyncio
import time

from trace_node.api.access import Access
from trace_node.api.figures import Figures
from trace_node.api.stopping import Stop
from trace_node.config import build

RECEIPT = b"x" * 600
SCOPE = {
    "type": "http",
    "path": "/entries",
    "method": "POST",
    "client": ("127.0.0.1", 1),
    "headers": [(b"host", b"x"), (b"content-type", b"application/cose")],
}


async def app(scope, receive, send):
    await receive()
    headers = [(b"content-length", b"600")]
    await send({"type": "http.response.start", "status": 201, "headers": headers})
    await send({"type": "http.response.body", "body": RECEIPT})


async def receive():
    return {"type": "http.request", "body": b"", "more_body": False}


async def send(message):
    pass


async def each(served, count):
    begin = time.perf_counter()
    for _ in range(count):
        await served(SCOPE, receive, send)
    return (time.perf_counter() - begin) / count * 1e6


async def measure(count=50_000):
    settings = build(None, {"origin": "a.example/log"})
    named = Access(app, settings, Figures(None, Stop()))
    runs = [(await each(app, count), await each(named, count)) for _ in range(5)]
    return min(bare for bare, _ in runs), min(with_it for _, with_it in runs)


if __name__ == "__main__":
    bare, with_it = asyncio.run(measure())
    print(f"without {bare:.1f} µs, with {with_it:.1f} µs: {with_it - bare:.1f} µs")
