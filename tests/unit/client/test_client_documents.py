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
        b'\xef\xbb\xbf\xef\xbb\xbf{"type": "ObjectEvent"}',
        '{"type": "ObjectEvent", "n": "奶粉"}'.encode("gb18030"),
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


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-8"])
def test_a_byte_order_mark_says_nothing(encoding):
    (item,) = read(json.dumps(EVENT).encode(encoding))
    assert item.body["event"] == EVENT


@pytest.mark.parametrize("encoding", ["utf-16", "gb18030"])
def test_another_encoding_is_told_what_to_do(encoding):
    with pytest.raises(Malformed, match="save the document in UTF-8"):
        read_epcis('{"type": "ObjectEvent", "n": "奶粉"}'.encode(encoding))


def test_a_name_twice_is_said():
    source = read_epcis(b'{"type": "ObjectEvent", "eventID": "a", "eventID": "b"}')
    assert source.notes == ('eventID stands twice; the last value was taken, not "a"',)
    (item,) = source.items
    assert item.body["event"]["eventID"] == "b"


def test_a_name_twice_is_said_with_its_place():
    inner = b'{"type": "ObjectEvent", "x": [{"a": 1, "a": 2, "a": 3}]}'
    document = json.dumps(HEAD | {"epcisBody": {"eventList": [EVENT, "HERE"]}})
    notes = read_epcis(document.encode().replace(b'"HERE"', inner)).notes
    place = "epcisBody.eventList.1.x.0.a stands twice; the last value was taken, not "
    assert notes == (place + "1", place + "2")


def test_notes_are_few_and_short():
    values = b", ".join(b'"a": "%s"' % (b"x" * 500) for _ in range(99))
    notes = read_epcis(b'{"type": "ObjectEvent", ' + values + b"}").notes
    assert len(notes) == 5
    assert all(len(note) < 200 for note in notes)


def test_what_no_record_holds_is_said():
    body = HEAD | {"id": "urn:x", "x:extra": 1, "epcisBody": {"eventList": [EVENT]}}
    (note,) = read_epcis(json.dumps(body).encode()).notes
    assert "x:extra" in note
    assert not read_epcis(json.dumps(EVENT | {"x:extra": 1}).encode()).notes


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
