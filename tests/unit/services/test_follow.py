"""The follower's steps: small in entries and rows, and the index is the same."""

from hashlib import sha256

import pytest

from tests.faults import story
from tests.faults.story import Story
from trace_node.errors import Malformed
from trace_node.services import follow
from trace_node.trust.statement import decode_statement, payload_of


@pytest.fixture(scope="module", autouse=True)
def _templates():
    yield
    story.drop_templates()


@pytest.fixture
def told(tmp_path):
    told = Story(tmp_path / "c")
    yield told
    assert told.faults() == []
    told.node.close()


def test_a_step_is_bounded_by_rows_and_the_next_goes_on(told, monkeypatch):
    monkeypatch.setattr(follow, "ROWS", 5)
    while told.node.follower.step():
        pass
    before = told.node.index.cursor()
    groups = [[story.record(f"{k}.{n}") for n in range(4)] for k in range(5)]
    for number, records in enumerate(groups):
        told.register(story.manifest(told.signer, records), records=records)
        told.register(told.single(number))
    cursors = [before]
    while told.node.follower.step():
        cursors.append(told.node.index.cursor())
    assert cursors[-1] == told.node.log.head().range.size
    assert len(cursors) > 3  # not all at once
    assert cursors == sorted(set(cursors))
    for records in groups:
        for position, record in enumerate(records):
            (mention,) = told.node.index.mentions(sha256(record).digest())
            assert mention.position == position
            digests = told.node.log.manifest(mention.index)
            assert digests[position] == sha256(record).digest()


def test_the_payload_is_where_the_decoder_finds_it(told):
    for raw in (told.single(1), story.manifest(told.signer, [story.record("a")])):
        assert payload_of(raw) == decode_statement(raw).payload
        for bad in (raw[1:][:-1], raw[:-1], raw + b"\0", raw[-90:], b""):
            with pytest.raises(Malformed):
                payload_of(bad)
