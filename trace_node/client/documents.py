"""EPCIS documents in JSON, cut into events that can be read alone.

GS1 EPCIS 2.0 §10: ``EPCISDocument`` (epcisBody.eventList, or one epcisBody.event),
``EPCISQueryDocument`` (…queryResults.resultsBody.eventList), a bare event, a bare
list of events. The body of a record is ``{"event": …}`` with the event as it was
parsed, and beside it the members of its document without which it could not be
understood: ``@context`` names its vocabulary, the pseudo-SBDH members name sender
and receiver. Master data of the document (epcisHeader) becomes a record of its own.
"""

import json
from collections import Counter
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
_SHOWN: Final = 5  # names in a note


def read_epcis(data: bytes) -> Source:
    """Return the events of a document.

    Raises:
        Malformed: not JSON that every reader understands alike, or no EPCIS.
        LimitExceeded: too large or too deep.
    """
    value, twice = _parse(data)
    notes = []
    if twice:
        names = ", ".join(dict.fromkeys(twice[:_SHOWN]))
        notes.append(
            f"the document repeats a name within one object ({names}); "
            "the last value was taken, as most readers do"
        )
    events, beside = _events(value)
    header = value.get(HEADER) if isinstance(value, dict) else None
    total = len(events) + (header is not None)
    return Source(_items(events, beside, header), total, MAX_RECORDS, tuple(notes))


def _parse(data: bytes) -> tuple[Any, list[str]]:
    """Return the value, and the names that stand twice in one object.

    A record with a name twice is refused, for two readers would see two things.
    A document is its author's own and only becomes records here; published ones
    do repeat names, so the last value is taken, and it is said. All else is as
    strict as in a record: what is left is written and read again.
    """
    if data.startswith((b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff")):
        raise Malformed("JSON is UTF-8 without a byte order mark", where="byte 0")
    try:
        return loads_strict(data, max_bytes=MAX_DOCUMENT), []
    except LimitExceeded:
        raise
    except Malformed as error:
        first = error
    twice: list[str] = []

    def last_wins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        made = dict(pairs)
        if len(made) != len(pairs):
            counts = Counter(name for name, _ in pairs)
            twice.extend(name for name, count in counts.items() if count > 1)
        return made

    try:
        value = json.loads(data.decode(), object_pairs_hook=last_wins)
        again = json.dumps(value, ensure_ascii=False).encode()
    except (ValueError, RecursionError):
        raise first from None
    if not twice:
        raise first
    return loads_strict(again, max_bytes=2 * MAX_DOCUMENT), twice


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
