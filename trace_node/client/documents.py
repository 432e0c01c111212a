"""EPCIS documents in JSON, cut into events that can be read alone.

GS1 EPCIS 2.0 §10: ``EPCISDocument`` (epcisBody.eventList, or one epcisBody.event),
``EPCISQueryDocument`` (…queryResults.resultsBody.eventList), a bare event, a bare
list of events. The body of a record is ``{"event": …}`` with the event as it was
parsed, and beside it the members of its document without which it could not be
understood: ``@context`` names its vocabulary, the pseudo-SBDH members name sender
and receiver. Master data of the document (epcisHeader) becomes a record of its own.
"""

import codecs
import json
from collections.abc import Iterator
from typing import Any, Final

from trace_node.client.items import Fault, Item, Source
from trace_node.errors import LimitExceeded, Malformed
from trace_node.trust.manifest import MAX_RECORDS
from trace_node.trust.strictjson import loads_strict

MAX_DOCUMENT: Final = 64 << 20  # bytes
EVENT: Final = "event"
HEADER: Final = "epcisHeader"
_BESIDE: Final = (
    "@context",
    "schemaVersion",
    "creationDate",
    "sender",
    "receiver",
    "instanceIdentifier",
)
_DOCUMENTS: Final = ("EPCISDocument", "EPCISQueryDocument")
_TYPES: Final = frozenset(
    {
        "ObjectEvent",
        "AggregationEvent",
        "TransactionEvent",
        "TransformationEvent",
        "AssociationEvent",
    }
)
_READ: Final = ("type", "id", "epcisBody", HEADER)
_SHOWN: Final = 5  # notes, and names in one
_LONGEST: Final = 80  # characters of a value in a note


class _Twice(dict[str, Any]):
    """An object in which names stood twice; it holds the last values."""

    dropped: list[tuple[str, Any]]


def read_epcis(data: bytes) -> Source:
    """Return the events of a document.

    A byte order mark is ignored, as RFC 8259 §8.1 allows: the record is written
    anew in any case.

    Raises:
        Malformed: not JSON that every reader understands alike, or no EPCIS.
        LimitExceeded: too large or too deep.
    """
    value, notes = _parse(data.removeprefix(codecs.BOM_UTF8))
    events, beside = _events(value)
    document = value if isinstance(value, dict) and events != [value] else {}
    left = sorted(document.keys() - {*_BESIDE, *_READ})
    if left:
        names = ", ".join(left[:_SHOWN])
        notes.append(f"members of the document that no record holds: {names}")
    header = document.get(HEADER)
    total = len(events) + (header is not None)
    return Source(_items(events, beside, header), total, MAX_RECORDS, tuple(notes))


def _parse(data: bytes) -> tuple[Any, list[str]]:
    """Return the value, and notes on names that stand twice in one object.

    A record with a name twice is refused, for two readers would see two things.
    A document is its author's own and only becomes records here, each with one
    value. Published ones do repeat names (one of GS1's own examples has two
    eventIDs), and refusing them would turn an importer away for what every other
    reader takes. So the last value is taken, as ECMAScript's JSON.parse and most
    readers do, and the importer is told where and what was dropped. All else is
    as strict as in a record: what is left is written and read again.
    """
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise Malformed("UTF-16; save the document in UTF-8", where="byte 0")
    try:
        return loads_strict(data, max_bytes=MAX_DOCUMENT), []
    except LimitExceeded:
        raise
    except Malformed as error:
        first = error

    def last_wins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        made = dict(pairs)
        if len(made) == len(pairs):
            return made
        twice, last = _Twice(made), {name: i for i, (name, _) in enumerate(pairs)}
        twice.dropped = [pair for i, pair in enumerate(pairs) if last[pair[0]] != i]
        return twice

    try:
        value = json.loads(data.decode(), object_pairs_hook=last_wins)
        again = json.dumps(value, ensure_ascii=False).encode()
    except UnicodeDecodeError:
        raise Malformed("not UTF-8; save the document in UTF-8") from None
    except (ValueError, RecursionError):
        raise first from None
    notes = [
        f"{path} stands twice; the last value was taken, not {_short(dropped)}"
        for path, dropped in _twice(value)
    ]
    if not notes:
        raise first
    return loads_strict(again, max_bytes=2 * MAX_DOCUMENT), notes


def _twice(value: Any) -> list[tuple[str, Any]]:
    """Return (path, value that was dropped) of names that stood twice, some."""
    found: list[tuple[str, Any]] = []
    waiting = [("", value)]
    while waiting and len(found) < _SHOWN:
        path, inner = waiting.pop()
        if isinstance(inner, _Twice):
            found += [(f"{path}{name}", dropped) for name, dropped in inner.dropped]
        if isinstance(inner, dict):
            waiting += [(f"{path}{name}.", each) for name, each in inner.items()]
        elif isinstance(inner, list):
            waiting += [(f"{path}{i}.", each) for i, each in enumerate(inner)]
    return found[:_SHOWN]


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."


def _events(value: Any) -> tuple[list[Any], dict[str, Any]]:
    """Return the events, and what is said beside each of them."""
    if isinstance(value, list):
        return value, {}
    if not isinstance(value, dict):
        raise Malformed("an EPCIS document is an object or a list of events")
    kind = value.get("type")
    if isinstance(kind, str) and kind in _TYPES:
        return [value], {}
    if kind not in _DOCUMENTS:
        raise Malformed(
            "no EPCISDocument, EPCISQueryDocument or event of EPCIS 2.0", where="type"
        )
    beside = {name: value[name] for name in _BESIDE if name in value}
    body, path = _object(value, "epcisBody", "epcisBody"), "epcisBody"
    if kind == "EPCISQueryDocument":
        path = "epcisBody.queryResults.resultsBody"
        results = _object(body, "queryResults", "epcisBody.queryResults")
        body = _object(results, "resultsBody", path)
    if "eventList" not in body and "event" in body:
        return [body["event"]], beside
    events = body.get("eventList")
    if not isinstance(events, list):
        raise Malformed("a list of events is needed", where=f"{path}.eventList")
    return events, beside


def _object(value: dict[str, Any], name: str, where: str) -> dict[str, Any]:
    inner = value.get(name)
    if not isinstance(inner, dict):
        raise Malformed("a JSON object is needed", where=where)
    return inner


def _items(
    events: list[Any], beside: dict[str, Any], header: Any
) -> Iterator[Item | Fault]:
    for position, event in enumerate(events):
        place = f"event {position + 1}"
        if not isinstance(event, dict) or not isinstance(event.get("type"), str):
            yield Fault(place, "an event is an object with a type")
        else:
            yield Item(position, place, EVENT, {EVENT: event, **beside})
    if header is not None:
        yield Item(len(events), HEADER, "document", {HEADER: header, **beside})
