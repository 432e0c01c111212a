"""The application: the framework for most, a short cut for the hot path."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from sqlalchemy.exc import SQLAlchemyError
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Receive, Scope, Send

from trace_node import __version__
from trace_node.api.access import Access
from trace_node.api.bodies import Disconnected
from trace_node.api.figures import Figures
from trace_node.api.gate import Gate
from trace_node.api.problems import CBOR, JSON, WireProblem, is_scrapi, render
from trace_node.api.register import Desk, Register
from trace_node.api.routes import entries, health, log, records, submissions
from trace_node.api.stopping import Stop, Stream
from trace_node.errors import (
    Malformed,
    Overloaded,
    ReadOnly,
    StoreCorrupt,
    TraceNodeError,
)
from trace_node.node import LOGGER, Node

PATH_LIMIT = 2_048  # bytes of a request target
# Disk full or gone, database locked, no memory: nothing the client did, all may pass.
STORE_FAILURES = (OSError, SQLAlchemyError, MemoryError)
NO_THREAD = "can't start new thread"  # how Python says that memory has no room for one


def create_app(node: Node, figures: Figures | None = None) -> Access:
    """Return the ASGI application of ``node``; it starts and stops the node.

    Args:
        node: answers.
        figures: of all workers, where there are several.
    """
    figures = figures or Figures(node, Stop())

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        node.start()
        figures.start()
        yield
        await asyncio.to_thread(node.stop)  # it waits; what it answers must go out
        await asyncio.to_thread(figures.end)

    app = FastAPI(
        title="trace-node",
        version=__version__,
        description="A global traceability center: registration, proofs, content.",
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    desk = Desk(node)
    register = Register(desk)
    app.include_router(entries.router(node, register))
    app.include_router(log.router(node))
    app.include_router(records.router(node))
    app.include_router(submissions.router(desk))
    app.include_router(health.router(node, figures))
    app.add_exception_handler(TraceNodeError, _trace_node_error)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http)
    for kind in STORE_FAILURES:
        app.add_exception_handler(kind, _store_failure)
    app.add_exception_handler(RuntimeError, _runtime_error)
    _document_problems(app)
    front = Front(app, register, figures.stop, node.settings.body_seconds)
    access = Access(front, node.settings, figures)
    access.gate = Gate(desk, figures)
    return access


class Front:
    """Bounds the request line and streams, takes the hot path, catches the rest."""

    def __init__(
        self, app: ASGIApp, register: Register, stop: Stop, patience: float
    ) -> None:
        self._app = app
        self._register = register
        self._stop = stop
        self._patience = patience

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection scope."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        try:
            if len(scope["raw_path"]) + len(scope["query_string"]) > PATH_LIMIT:
                raise WireProblem(414, f"over {PATH_LIMIT} bytes", where="path")
            if scope["path"] == "/entries" and scope["method"] == "POST":
                await self._register(scope, receive, send)
            elif scope["method"] == "HEAD":  # the server leaves the body out
                await self._app({**scope, "method": "GET"}, receive, send)
            elif scope["path"] == "/submissions":  # it may go on for hours
                receive = Stream(self._stop, receive, self._patience)
                await self._app(scope, receive, send)
            else:
                await self._app(scope, receive, send)
        except Disconnected:
            return
        except TraceNodeError as error:
            await _response(error, scope["path"])(scope, receive, send)
        except STORE_FAILURES as error:
            await _response(_failed(error), scope["path"])(scope, receive, send)
        except RuntimeError as error:
            await _response(_no_thread(error), scope["path"])(scope, receive, send)


def _response(error: TraceNodeError, path: str) -> Response:
    if isinstance(error, StoreCorrupt):
        LOGGER.error("%s", error)
    status, headers, body = render(error, path)
    return Response(body, status, headers)


def _failed(error: Exception) -> TraceNodeError:
    if isinstance(error, MemoryError):
        LOGGER.error("no memory left for a request")
        return Overloaded("the center has no memory for this now")
    LOGGER.error("the store failed", exc_info=error)
    return ReadOnly("the center's disk or database does not answer")


def _no_thread(error: RuntimeError) -> TraceNodeError:
    if str(error) != NO_THREAD:
        raise error
    return _failed(MemoryError())


async def _runtime_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, RuntimeError)  # noqa: S101 - registered for it
    return _response(_no_thread(error), request.scope["path"])


async def _store_failure(request: Request, error: Exception) -> Response:
    return _response(_failed(error), request.scope["path"])


async def _trace_node_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, TraceNodeError)  # noqa: S101 - registered for it
    return _response(error, request.scope["path"])


async def _invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)  # noqa: S101 - registered for it
    first: Any = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"])
    return _response(Malformed(first["msg"], where=where), request.scope["path"])


async def _http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101 - registered for it
    problem = WireProblem(error.status_code, str(error.detail), where="path")
    response = _response(problem, request.scope["path"])
    for name, value in (error.headers or {}).items():
        response.headers[name] = value
    return response


def _document_problems(app: FastAPI) -> None:
    """Let the OpenAPI document tell the problems that are answered in fact.

    The framework writes its own form of a validation error under 422, which no
    route here gives: what cannot be parsed is a problem with status 400.
    """
    made = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            document = made()
            for path, methods in document["paths"].items():
                media = CBOR if is_scrapi(path) else JSON
                for operation in methods.values():
                    responses = operation["responses"]
                    if "{" in path:
                        responses.setdefault("404", {"description": "nothing there"})
                    _document(responses, media)
            schemas = document.get("components", {}).get("schemas", {})
            for name in ("HTTPValidationError", "ValidationError"):
                schemas.pop(name, None)
        return app.openapi_schema or {}

    app.openapi = openapi  # type: ignore[method-assign]


def _document(responses: dict[str, Any], media: str) -> None:
    framework = "#/components/schemas/HTTPValidationError"
    if framework in str(responses.get("422", "")):
        del responses["422"]
        responses.setdefault("400", {"description": "malformed"})
    responses["414"] = {"description": "the request target is too long"}
    for status, response in responses.items():
        if int(status) >= 400:  # noqa: PLR2004 - where problems begin
            response.setdefault("content", {media: {}})
