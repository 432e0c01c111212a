"""Import through the real door, with all that GS1 and a customs office offer."""

import json
import os
import resource
import signal
import subprocess
import time
from pathlib import Path

import pytest
from cli_story import TRACE_NODE, answer, environment, trace_node

from trace_node.cli.importing import receipts_to
from trace_node.client import Client, Registered
from trace_node.errors import Misuse, Refused
from trace_node.ledger.tiles import decode_entries, tile_path
from trace_node.trust.policy import parse_policy
from trace_node.trust.statement import decode_statement

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"


def shared(name):
    path = SHARED / name
    if not path.exists():
        pytest.skip(f"the shared test data is not at {path}")
    return path


def manifests(place):
    """Return how many manifests the log holds, read over HTTP."""
    policy = parse_policy(place.policy.read_text())
    with Client(place.url, policy=policy) as client:
        wire = client._wire
        note = wire.request("GET", "/log/checkpoint").body
        size = int(note.split(b"\n")[1])
        found = 0
        for begin in range(0, size, 256):
            width = min(256, size - begin)
            path = f"/log/{tile_path(None, begin // 256, width)}"
            tile = wire.request("GET", path, limit=32 << 20).body
            entries = decode_entries(tile)
            found += sum(decode_statement(e).is_manifest for e in entries)
        return found


def published(place):
    """Return the number of manifests once the checkpoint covers all entries."""
    time.sleep(1.5)
    return manifests(place)


def test_documents_of_gs1(place):
    paths = sorted(shared("epcis/json").glob("*.jsonld"))
    found = answer("import", *paths, *place.party())
    assert (found["files"], found["statements"]) == (47, 47)
    assert found["records"] == 56
    assert found["rejected"] == 0
    assert len(set(found["indices"])) == 47
    again = answer("import", *paths, *place.party())
    assert again["resumed"] == 47
    assert again["indices"] == found["indices"]


def test_customs_declarations(place, tmp_path):
    out = tmp_path / "receipts.ndjson"
    path = shared("customs-declarations.csv")
    found = answer("import", path, *place.party(), "--out", out)
    assert (found["records"], found["statements"]) == (8_134, 9)
    lines = [json.loads(line) for line in out.read_text().splitlines()]
    assert [line["index"] for line in lines] == found["indices"]
    names = {name for line in lines for name in line["records"]}
    assert len(names) == 8_134


def test_killed_at_any_moment_and_run_again(place, tmp_path):
    table = tmp_path / "rows.csv"
    rows = 4_000
    table.write_text("no,what\n" + "".join(f"{n},奶粉\n" for n in range(rows)))
    before = published(place)
    out = tmp_path / "receipts.ndjson"
    command = ["import", table, *place.party(), "--batch", "10", "--out", out]
    folder = place.key.parent / "imports"
    known = set(folder.glob("*")) if folder.is_dir() else set()
    kills = []
    for acknowledged in (0, 1, 60, 150, 250, 330):
        process = subprocess.Popen(
            [*TRACE_NODE, *map(str, command)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=environment(),
        )
        while process.poll() is None:
            journals = set(folder.glob("*")) - known if folder.is_dir() else set()
            lines = sum(path.read_bytes().count(b"\n") for path in journals)
            if lines > acknowledged:
                os.kill(process.pid, signal.SIGKILL)
                break
            time.sleep(0.0005)
        kills.append(process.wait())
    assert kills.count(-signal.SIGKILL) >= 4, kills
    report = json.loads(trace_node(*command, "--json"))
    assert (report["records"], report["statements"]) == (rows, rows // 10)
    assert report["resumed"] >= 250
    lines = [json.loads(line) for line in out.read_text().splitlines()]
    names = [name for line in lines for name in line["records"]]
    assert len(names) == len(set(names)) == rows
    assert published(place) - before == rows // 10


def test_bad_rows_give_exit_code_1(place, tmp_path):
    table = tmp_path / "bad.csv"
    table.write_text('a,b\n1,2\n3\n"4,5\n6,7\n')
    report = answer("import", table, *place.party(), code=1)
    assert report["records"] == 2
    assert [fault["place"] for fault in report["faults"]] == ["line 3", "line 4"]
    assert "line 3" in trace_node("import", table, *place.party(), code=1)


@pytest.mark.parametrize("options", [["--type", "party"], ["--batch", "0"]])
def test_options_that_are_none(place, tmp_path, options):
    table = tmp_path / "t.csv"
    table.write_text("a\n1\n")
    trace_node("import", table, *place.party(), *options, code=2)


def test_a_spreadsheet_is_misuse(place, tmp_path):
    table = tmp_path / "t.xlsx"
    table.write_bytes(b"PK")
    error = answer("import", table, *place.party(), code=2)
    assert error["error"] == "misuse"
    assert ".csv" in error["message"]


def test_types_can_be_chosen(place, tmp_path):
    table = tmp_path / "t.csv"
    table.write_text("a\n1\n")
    for kind in ("declaration", "document"):
        assert answer("import", table, *place.party(), "--type", kind)["resumed"] == 0


DONE = (Registered(7, b"receipt", b"statement", bytes(32)), [b"record"])


def test_receipts_are_there_when_all_is_done(tmp_path):
    out, part = tmp_path / "r.ndjson", tmp_path / "r.ndjson.part"
    part.write_text("left by a run that was killed\n")
    with receipts_to(out) as done:
        done(*DONE)
        assert not out.exists()
    (line,) = out.read_text().splitlines()
    assert json.loads(line)["index"] == 7
    assert not part.exists()
    for error in (KeyboardInterrupt, Refused):
        with pytest.raises(error), receipts_to(out):
            raise error("ended")
        assert not part.exists()
    assert out.read_text().splitlines() == [line]


def test_two_imports_do_not_write_one_file(tmp_path):
    out = tmp_path / "r.ndjson"
    with receipts_to(out) as done:
        done(*DONE)
        with pytest.raises(Misuse, match="another import"), receipts_to(out):
            pass
        done(*DONE)
    assert len(out.read_text().splitlines()) == 2


def test_receipts_that_cannot_be_written(tmp_path):
    out = tmp_path / "r.ndjson"
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (20, before[1]))
        with pytest.raises(Misuse, match="cannot write"), receipts_to(out) as done:
            done(*DONE)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert not list(tmp_path.iterdir())
    with pytest.raises(Misuse, match="cannot write"), receipts_to(tmp_path / "no/r"):
        pass
