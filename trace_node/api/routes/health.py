"""Health and metrics, and who this center is."""

import asyncio
from collections.abc import Iterator

from fastapi import APIRouter, Response
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from pydantic import BaseModel

from trace_node import __version__
from trace_node.api.figures import Center as AllFigures
from trace_node.api.figures import Figures
from trace_node.node import Node


class Ready(BaseModel):
    """Whether the center takes writes, and what keeps workers from it."""

    ready: bool
    problem: str
    size: int
    published: int
    waiting: int
    workers: int


class Center(BaseModel):
    """Who this center is; trust comes from a policy file, not from here."""

    origin: str
    name: str
    operator: str
    vkey: str
    version: str
    rules: dict[str, str]


COUNTERS = (
    ("commits", "groups of entries committed"),
    ("entries", "entries appended by this center's processes"),
    ("failures", "commits and background turns that failed"),
    ("restarts", "workers that died and were started again"),
    ("refused", "connections turned away, there being no room"),
    ("evicted", "idle connections closed to make room"),
)
TOPS = (
    ("log_size", "entries under the head signed last"),
    ("published_size", "entries published"),
    ("uptime_seconds", "seconds that the longest-running worker runs"),
    ("waiting_seconds", "that a statement would wait in line, at the slowest worker"),
    (
        "degraded",
        "1 when blobs are out of reach: no large records, maybe no checkpoint",
    ),
)
TOTALS = (
    ("damaged", "places found damaged on the disk"),
    ("scrubbed_entries", "entries read again"),
    ("waiting", "statements in line"),
    ("connections", "connections open"),
)


class CenterCollector(Collector):
    """Turns the center's figures into Prometheus metrics when asked.

    Sums over all workers have plain names; what single workers say is named
    ``trace_node_worker_…``, so that a sum over a name never counts twice.
    """

    def __init__(self, figures: Figures) -> None:
        self._figures = figures

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics."""
        center = self._figures.center()
        for name, text in COUNTERS:
            counter = CounterMetricFamily(f"trace_node_{name}", text)
            counter.add_metric([], center.counter(name))
            yield counter
        answered = CounterMetricFamily(
            "trace_node_requests", "requests answered", labels=["status"]
        )
        for digit in range(1, 6):
            count = center.counter(f"requests_{digit}xx")
            answered.add_metric([f"{digit}xx"], count)
        yield answered
        levels = {name: (text, center.top(name)) for name, text in TOPS}
        levels |= {name: (text, center.total(name)) for name, text in TOTALS}
        levels["ready"] = "1 when the center takes writes", int(center.ready())
        levels["workers"] = "workers that live", len(center.living)
        for name, (text, level) in levels.items():
            gauge = GaugeMetricFamily(f"trace_node_{name}", text)
            gauge.add_metric([], level)
            yield gauge
        yield from _of_workers(center)


def _of_workers(center: AllFigures) -> Iterator[Metric]:
    entries = CounterMetricFamily(
        "trace_node_worker_entries", "entries a worker appended", labels=["worker"]
    )
    ready = GaugeMetricFamily(
        "trace_node_worker_ready", "1 when a worker takes writes", labels=["worker"]
    )
    connections = GaugeMetricFamily(
        "trace_node_worker_connections", "connections of a worker", labels=["worker"]
    )
    living = {report.worker for report in center.living}
    for report in center.reports:
        name, alive = [str(report.worker)], report.worker in living
        entries.add_metric(name, report.counters.get("entries", 0))
        ready.add_metric(name, int(alive and not report.reason))
        count = report.levels.get("connections", 0)
        connections.add_metric(name, count if alive else 0)
    yield from (entries, ready, connections)


def router(node: Node, figures: Figures) -> APIRouter:
    """Return the routes of ``/health``, ``/metrics`` and ``/v1/center``."""
    routes = APIRouter(tags=["Operations"])
    registry = CollectorRegistry()
    registry.register(CenterCollector(figures))

    @routes.get("/health/live")
    async def live() -> dict[str, bool]:
        """Say that the process answers."""
        return {"live": True}

    @routes.get(
        "/health/ready",
        responses={503: {"model": Ready, "description": "reads only, and why"}},
    )
    async def ready(response: Response) -> Ready:
        """Say whether the center takes writes."""
        center = await asyncio.to_thread(figures.center)
        takes = center.ready() and not figures.stop.is_set()
        if not takes:
            response.status_code = 503
            response.headers["retry-after"] = "30"
        return Ready(
            ready=takes,
            problem=center.problem() or node.health.limits(),
            size=int(center.top("log_size")),
            published=int(center.top("published_size")),
            waiting=int(center.total("waiting")),
            workers=len(center.living),
        )

    @routes.get(
        "/metrics",
        response_class=Response,
        responses={
            200: {"description": "Prometheus text", "content": {"text/plain": {}}}
        },
    )
    async def metrics() -> Response:
        """Return the metrics."""
        data = await asyncio.to_thread(generate_latest, registry)
        return Response(data, media_type=CONTENT_TYPE_LATEST)

    @routes.get("/v1/center")
    async def center() -> Center:
        """Say who this center is, by which keys and rules."""
        return Center(
            origin=node.settings.origin,
            name=node.name,
            operator=node.did,
            vkey=str(node.vkey),
            version=__version__,
            rules=node.rules.named(),
        )

    return routes
