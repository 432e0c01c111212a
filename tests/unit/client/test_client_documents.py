"""EPCIS documents, those of GS1 and those that are none."""

import json
from pathlib import Path

import pytest

from trace_node.client.documents import read_epcis
from trace_node.client.items import Fault, Item
from trace_node.errors import LimitExceeded, Malformed

SHARED = Path(__file__).resolve().parents[4] / "shared" / "data" / "epcis" / "json"
EVENT = {"type": "ObjectEvent", "action": "OBSERVE", "n": 1.50}
HEAD = {
    "@context": ["https://ref.gs1.org/standards/epcis/2.0.0/epcis-context.jsonld"],
    "type": "EPCISDocument",
    "schemaVersion": "2.0",
    "creationDate": "2025-05-04T01:00:00Z",
}


def read(value):
    data = value if isinstance(value, bytes) else json.dumps(value).encode()
    source = read_epcis(data)
    items = list(source.items)
    assert len(items) == source.total
    return items


def test_an_event_carries_what_it_needs_to_be_read_alone():
    (item,) = read(HEAD | {"id": "urn:x", "epcisBody": {"eventList": [EVENT]}})
    beside = {
        name: HEAD[name] for name in ("@context", "schemaVersion", "creationDate")
    }
    assert item == Item(0, "event 1", "event", {"event": EVENT} | beside)


@pytest.mark.parametrize(
    "body",
    [
        HEAD | {"epcisBody": {"event": EVENT}},
        HEAD
        | {
            "type": "EPCISQueryDocument",
            "epcisBody": {"queryResults": {"resultsBody": {"eventList": [EVENT]}}},
        },
        EVENT,
        [EVENT],
    ],
)
def test_every_form_of_a_document(body):
    (item,) = read(body)
    assert item.body["event"] == EVENT


def test_master_data_becomes_a_record():
    body = {"eventList": [EVENT]}
    _, header = read(HEAD | {"epcisHeader": {"epcisMasterData": {}}, "epcisBody": body})
    assert header.kind == "document"
    assert header.body["epcisHeader"] == {"epcisMasterData": {}}


def test_an_event_that_is_none():
    first, second = read(HEAD | {"epcisBody": {"eventList": [7, EVENT]}})
    assert isinstance(first, Fault)
    assert second.position == 1


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{}",
        b"7",
        b"null",
        b'{"type": "EPCISDocument"}',
        b'{"type": "EPCISDocument", "epcisBody": {"eventList": 7}}',
        b'{"type": ["ObjectEvent"]}',
        b'\xef\xbb\xbf{"type": "ObjectEvent"}',
        '{"type": "ObjectEvent"}'.encode("utf-16"),
        b'{"type": "ObjectEvent", "x": NaN}',
        b'{"type": "ObjectEvent", "x": 1e999}',
        b'{"type": "ObjectEvent", "x": 9007199254740993}',
        b'{"type": "ObjectEvent", "x": "\\ud800"}',
        b'{"type": "ObjectEvent", "x": "\\u0000"}',
        b'{"type": "ObjectEvent", "a": 1, "a": 9007199254740993}',
        b'{"type": "ObjectEvent", "a": 1, "a": "\\ud800"}',
        b'{"type": "ObjectEvent", "a": 1, "a": 1e999}',
        b'{"type": "ObjectEvent", "a": 1, "a": ' + b"[" * 5_000 + b"]" * 5_000 + b"}",
        b'{"type": "ObjectEvent", "a": ' + b"[" * 40 + b"]" * 40 + b"}",
        b'{"type": "ObjectEvent"} {}',
    ],
)
def test_what_is_no_document(data):
    with pytest.raises((Malformed, LimitExceeded)):
        read(data)


def test_a_name_twice_is_said():
    source = read_epcis(b'{"type": "ObjectEvent", "eventID": "a", "eventID": "b"}')
    assert "eventID" in source.notes[0]
    (item,) = source.items
    assert item.body["event"]["eventID"] == "b"


def test_all_documents_of_gs1():
    if not SHARED.is_dir():
        pytest.skip(f"the GS1 documents are not at {SHARED}")
    paths = sorted(SHARED.glob("*.jsonld"))
    assert len(paths) == 47
    for path in paths:
        items = read(path.read_bytes())
        assert items, path.name
        assert all(isinstance(item, Item) for item in items), path.name
        assert all("@context" in item.body for item in items), path.name
