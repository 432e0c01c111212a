"""Importing: the same bytes each time, and nothing twice, whatever fails."""

import json
import os
import resource
from contextlib import contextmanager
from hashlib import sha256

import httpx
import jsonschema_rs
import pytest
from client_story import ALICE, ALICE_DID, FakeCenter

from trace_node.client import Author, Importer, Options, party_secret
from trace_node.client.journal import Ack, Journal, Plan
from trace_node.errors import (
    Conflict,
    Malformed,
    Misuse,
    Overloaded,
    Refused,
    Unreachable,
)
from trace_node.rules import Rules
from trace_node.trust.keys import MemorySigner
from trace_node.trust.record import parse_record
from trace_node.trust.statement import decode_statement

NOW = "2026-11-23T08:00:00Z"
AUTHOR = Author(ALICE, ALICE_DID, party_secret(b"\1" * 32))


@pytest.fixture
def center(tmp_path):
    made = FakeCenter(tmp_path / "center")
    yield made
    made.node.close()


@pytest.fixture
def table(tmp_path):
    path = tmp_path / "rows.csv"
    path.write_text("no,what\n" + "".join(f"{n},milk\n" for n in range(95)))
    return path


def importer(center, tmp_path, *, author=AUTHOR, issued=NOW, batch=10, **more):
    options = Options(issued, batch=batch, **more)
    found = []
    made = Importer(
        center.client(patience=0.0),
        author,
        tmp_path / "imports",
        options,
        done=lambda registered, records: found.append((registered, records)),
    )
    made.found = found
    return made


def manifests_in(center):
    size = center.node.log.head().range.size
    entries = [decode_statement(s) for s in center.node.log.statements(0, size)]
    return [entry for entry in entries if entry.is_manifest]


def test_rows_become_records_under_few_signatures(center, tmp_path, table):
    first = importer(center, tmp_path)
    report = first.run([table])
    assert (report.records, report.statements, report.rejected) == (95, 10, 0)
    assert report.indices == [registered.index for registered, _ in first.found]
    record = parse_record(first.found[0][1][3])
    assert record.type == "declaration"
    assert record.issued == NOW
    assert record.body["row"] == {"no": "3", "what": "milk"}
    assert record.body["source"] == {"name": "rows.csv", "line": 5}
    assert center.node.vault.read(record.digest) == record.raw
    salts = {parse_record(r).salt for _, group in first.found for r in group}
    assert len(salts) == 95


def test_again_sends_nothing(center, tmp_path, table):
    first = importer(center, tmp_path)
    first.run([table])
    center.requests.clear()
    again = importer(center, tmp_path, issued="2027-01-01T00:00:00Z", batch=7)
    report = again.run([table])
    assert report.resumed == 10
    assert again.found == first.found
    assert not any(request.startswith("POST") for request in center.requests)


def test_again_without_a_journal_is_another_import(center, tmp_path, table):
    importer(center, tmp_path).run([table])
    for path in (tmp_path / "imports").iterdir():
        path.unlink()
    # Under the same time and key the records are the same, so it is the same one.
    assert importer(center, tmp_path).run([table]).statements == 10
    assert len(manifests_in(center)) == 10


def test_the_name_of_the_file_may_change(center, tmp_path, table):
    importer(center, tmp_path).run([table])
    moved = table.rename(tmp_path / "renamed.csv")
    assert importer(center, tmp_path).run([moved]).resumed == 10


def test_the_same_content_twice_in_one_run(center, tmp_path, table):
    copy = tmp_path / "copy.csv"
    copy.write_bytes(table.read_bytes())
    report = importer(center, tmp_path).run([table, copy, table])
    assert (report.records, report.files) == (95, 3)
    assert len(report.notes) == 2


@pytest.mark.parametrize("answered", [True, False])
def test_broken_off_and_resumed(center, tmp_path, table, answered):
    table.write_text("no\n" + "".join(f"{n}\n" for n in range(2_000)))
    left = [1]

    def tamper(request, response):
        if request.method != "POST" or left[0] > 0:
            left[0] -= request.method == "POST"
            return response
        if not answered:
            raise httpx.ReadError("cut", request=request)
        return httpx.Response(503, headers={"retry-after": "9"})

    center.tamper = tamper
    with pytest.raises((Unreachable, Overloaded)):
        importer(center, tmp_path).run([table])
    center.tamper = lambda request, response: response
    second = importer(center, tmp_path, issued="2027-01-01T00:00:00Z")
    report = second.run([table])
    assert (report.records, report.statements) == (2_000, 200)
    assert report.resumed == 64
    assert len(manifests_in(center)) == 200
    names = [sha256(r).digest() for _, group in second.found for r in group]
    assert len(set(names)) == 2_000


def test_bad_rows_are_told_and_the_rest_goes_in(center, tmp_path, table):
    table.write_text('no,what\n1,a\n2\n3,c,d\n4,"x\n5,e\n6,\0\n7,g\n')
    report = importer(center, tmp_path).run([table])
    assert report.records == 3
    assert [fault.place for _, fault in report.faults] == [
        "line 3",
        "line 4",
        "line 5",
        "line 7",
    ]


def test_rules_are_checked_row_by_row(center, tmp_path, table):
    schema = {"properties": {"row": {"properties": {"no": {"pattern": "^[0-8]"}}}}}
    rules = Rules({}, {"declaration": jsonschema_rs.validator_for(schema)})
    report = importer(center, tmp_path, rules=rules).run([table])
    assert report.rejected == 6  # 9, and 90 to 94
    assert report.records == 89


def test_a_stranger_is_told_so(center, tmp_path, table):
    eve = MemorySigner.from_seed("Ed25519", b"\3" * 32)
    author = Author(eve, ALICE_DID, bytes(32))
    with pytest.raises(Refused) as caught:
        importer(center, tmp_path, author=author).run([table])
    assert "party add" in caught.value.help


def test_a_refused_manifest_costs_itself(center, tmp_path, table):
    def tamper(request, response):
        if request.method != "POST":
            return response
        lines = response.content.splitlines(keepends=True)
        problem = {
            "position": 4,
            "type": "urn:trace-node:problem:malformed",
            "status": 400,
            "detail": "no",
        }
        lines[4] = json.dumps(problem).encode() + b"\n"
        return httpx.Response(200, content=b"".join(lines))

    center.tamper = tamper
    report = importer(center, tmp_path).run([table])
    assert (report.records, report.rejected) == (85, 10)
    assert report.faults[0][1].place == "line 42 to line 51"


def test_another_key_does_not_go_on(center, tmp_path, table):
    importer(center, tmp_path).run([table])
    other = Author(MemorySigner.from_seed("P-256", b"\7" * 32), ALICE_DID, bytes(32))
    with pytest.raises(Conflict) as caught:
        importer(center, tmp_path, author=other).run([table])
    assert "journal" in caught.value.help


def test_a_program_that_cuts_otherwise_does_not_go_on(center, tmp_path, table):
    importer(center, tmp_path).run([table])
    other = Author(ALICE, ALICE_DID, bytes(32))  # other salts: other records
    with pytest.raises(Conflict):
        importer(center, tmp_path, author=other).run([table])


def test_a_center_that_began_anew_gets_all_of_it(center, tmp_path, table):
    importer(center, tmp_path).run([table])
    anew = FakeCenter(tmp_path / "anew")
    report = importer(anew, tmp_path).run([table])
    assert (report.resumed, report.statements) == (0, 10)
    assert len(manifests_in(anew)) == 10
    anew.node.close()


def test_a_file_whose_name_is_no_text(center, tmp_path, table):
    odd = table.rename(tmp_path / os.fsdecode(b"\xff.csv"))
    made = importer(center, tmp_path)
    assert made.run([odd]).records == 95
    assert parse_record(made.found[0][1][0]).body["source"]["name"] == "\\udcff.csv"
    assert importer(center, tmp_path).run([odd]).resumed == 10


@pytest.mark.parametrize("name", ["a.xlsx", "a.xml", "a", "missing.csv"])
def test_files_that_cannot_be_imported(center, tmp_path, table, name):
    path = tmp_path / name
    if name != "missing.csv":
        path.write_text("x")
    with pytest.raises(Misuse):
        importer(center, tmp_path).run([table, path])
    assert not manifests_in(center)


def test_a_file_that_cannot_be_read_costs_itself(center, tmp_path, table):
    bad = tmp_path / "bad.json"
    bad.write_text("{")
    report = importer(center, tmp_path).run([bad, table])
    assert (report.records, report.rejected) == (95, 1)


@pytest.mark.parametrize(
    "options", [{"kind": "party"}, {"batch": 0}, {"batch": 10_001}]
)
def test_options_that_are_none(options):
    with pytest.raises(Misuse):
        Options(NOW, **options)


PLAN = Plan(bytes(32), NOW, "n.csv", 10, ALICE.public.kid_text)
ACK = Ack(7, b"\1" * 32, b"receipt")


@contextmanager
def no_more_than(size):
    """Let no file grow beyond ``size``: writes end early, as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def journal(tmp_path, plan=PLAN):
    return Journal(tmp_path / "j", [b"a", b"b"], plan)


class TestJournal:
    def test_remembers(self, tmp_path):
        first = journal(tmp_path)
        first.add(3, ACK)
        first.close()
        other = Plan(bytes(32), "2027-01-01T00:00:00Z", "m.csv", 9, PLAN.kid)
        again = journal(tmp_path, other)
        assert again.plan == PLAN
        assert again.acks == {3: ACK}
        again.close()

    def test_any_cut_is_survived(self, tmp_path):
        made = journal(tmp_path)
        made.add(0, ACK)
        made.add(1, ACK)
        made.close()
        data = made.path.read_bytes()
        for size in range(len(data) + 1):
            made.path.write_bytes(data[:size])
            again = journal(tmp_path)
            assert again.plan == PLAN
            whole = data[:size].count(b"\n")
            assert len(again.acks) == max(0, whole - 1)
            again.add(5, ACK)
            again.close()
            once_more = journal(tmp_path)
            assert once_more.acks[5] == ACK
            once_more.close()

    def test_damaged_lines_count_as_none(self, tmp_path):
        made = journal(tmp_path)
        made.add(0, ACK)
        made.close()
        with made.path.open("ab") as file:
            file.write(bytes(50) + b"\n[]\n{}\n" + b'{"manifest": 1}\n')
        again = journal(tmp_path)
        assert again.acks == {0: ACK}
        again.close()

    def test_another_file_is_not_taken_for_one(self, tmp_path):
        made = journal(tmp_path)
        made.close()
        for text in ("[]\n", "{}\n", "x\n", '{"format": "other"}\n'):
            made.path.write_text(text)
            with pytest.raises(Malformed):
                journal(tmp_path)
            assert made.path.read_text() == text

    def test_two_imports_at_once(self, tmp_path):
        first = journal(tmp_path)
        with pytest.raises(Misuse, match="running"):
            journal(tmp_path)
        first.close()
        journal(tmp_path).close()

    def test_a_full_disk_is_told_and_costs_a_request(self, tmp_path):
        made = journal(tmp_path)
        made.add(0, ACK)
        size = made.path.stat().st_size
        with no_more_than(size + 20), pytest.raises(Misuse, match="cannot write"):
            made.add(1, ACK)
        made.close()
        assert made.path.stat().st_size == size + 20  # a part of the line went in
        again = journal(tmp_path)
        assert again.acks == {0: ACK}
        assert again.path.stat().st_size == size
        again.close()

    def test_no_import_begins_without_a_whole_plan(self, tmp_path):
        with no_more_than(20), pytest.raises(Misuse, match="cannot write"):
            journal(tmp_path)
        journal(tmp_path).close()

    def test_a_plan_that_is_there_is_synced_before_it_is_used(
        self, tmp_path, monkeypatch
    ):
        journal(tmp_path).close()
        synced = []
        monkeypatch.setattr(os, "fsync", synced.append)
        made = journal(tmp_path)
        assert made._file.fileno() in synced
        made.close()

    @pytest.mark.parametrize("change", [{"batch": "10"}, {"issued": 1}, {"kid": None}])
    def test_a_plan_of_other_types_is_none(self, tmp_path, change):
        made = journal(tmp_path)
        made.close()
        made.path.write_text(json.dumps(json.loads(made.path.read_text()) | change))
        with made.path.open("a") as file:
            file.write("\n")
        with pytest.raises(Malformed):
            journal(tmp_path)

    def test_where_nothing_can_be_written(self, tmp_path):
        (tmp_path / "j").write_bytes(b"")  # a file in the way stops root, too
        with pytest.raises(Misuse):
            journal(tmp_path)
