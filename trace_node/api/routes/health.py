"""Health and metrics, and who this center is."""

import asyncio
import time

from fastapi import APIRouter, Response
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector
from pydantic import BaseModel

from trace_node import __version__
from trace_node.node import Node


class Ready(BaseModel):
    """Whether the center takes writes, and why not."""

    ready: bool
    problem: str
    size: int
    published: int
    waiting: int


class Center(BaseModel):
    """Who this center is; trust comes from a policy file, not from here."""

    origin: str
    name: str
    operator: str
    vkey: str
    version: str
    rules: dict[str, str]


class NodeCollector(Collector):
    """Turns the node's figures into Prometheus metrics when asked."""

    def __init__(self, node: Node) -> None:
        self._node = node

    def collect(self):  # type: ignore[no-untyped-def] # noqa: ANN201 - library's
        """Yield the metrics."""
        node, health = self._node, self._node.health
        for name, text, value in (
            ("commits", "groups of entries committed", health.commits),
            ("entries", "entries appended by this process", health.entries),
            ("failures", "commits and background turns that failed", health.failures),
        ):
            metric = CounterMetricFamily(f"trace_node_{name}", text)
            metric.add_metric([], value)
            yield metric
        last = node.keeper.last()
        for name, text, level in (
            (
                "log_size",
                "entries under the head signed last",
                last.size if last else 0,
            ),
            ("published_size", "entries published", node.publisher.size),
            ("waiting", "statements in line", node.intake.waiting),
            (
                "waiting_seconds",
                "that a statement would wait in line",
                node.intake.wait,
            ),
            ("ready", "1 when the center takes writes", int(not health.reason())),
            ("uptime_seconds", "seconds", time.monotonic() - health.started),
        ):
            gauge = GaugeMetricFamily(f"trace_node_{name}", text)
            gauge.add_metric([], level)
            yield gauge


def router(node: Node) -> APIRouter:
    """Return the routes of ``/health``, ``/metrics`` and ``/v1/center``."""
    routes = APIRouter(tags=["Operations"])
    registry = CollectorRegistry()
    registry.register(NodeCollector(node))

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
        last = node.keeper.last()
        reason = node.health.reason()
        if reason:
            response.status_code = 503
            response.headers["retry-after"] = "30"
        return Ready(
            ready=not reason,
            problem=reason,
            size=last.size if last else 0,
            published=node.publisher.size,
            waiting=node.intake.waiting,
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
            name=node.settings.name,
            operator=node.did,
            vkey=str(node.vkey),
            version=__version__,
            rules=node.rules.named(),
        )

    return routes
