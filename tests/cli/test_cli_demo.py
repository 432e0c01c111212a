"""The demonstration: a story that must always end well."""

import re
import signal
import subprocess
import urllib.request
from importlib.resources import files

from cli_story import TRACE_NODE, environment, trace_node

from trace_node.client.documents import read_epcis
from trace_node.client.tables import read_table


def data(name):
    return files("trace_node").joinpath("demo_data", name).read_bytes()


def mod10(text):
    weights = [3, 1] * len(text)
    total = sum(int(c) * w for c, w in zip(reversed(text[:-1]), weights, strict=False))
    return -total % 10 == int(text[-1])


def test_once():
    told = trace_node("demo", "--once")
    assert re.search(r"byte \d+: '.' became '.'\n\s+found: ", told)
    assert "all of it holds" in told
    assert "13 events" in told
    assert "20 lines" in told
    assert "溯源" in told


def test_keeps_serving_until_interrupted(tmp_path):
    folder = tmp_path / "demo"
    process = subprocess.Popen(
        [*TRACE_NODE, "demo", "--dir", str(folder)],
        stdout=subprocess.PIPE,
        text=True,
        env=environment(),
    )
    with process:
        told = ""
        for line in process.stdout:
            told += line
            if "Ctrl-C" in line:
                break
        url = re.search(r"(http://\S+)/v1/center", told)[1]
        for path in re.findall(rf"{url}(/\S+)", told):
            with urllib.request.urlopen(url + path, timeout=10) as response:
                assert response.status == 200
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 0
    assert (folder / "center" / "center.db").is_file()
    assert (folder / "bundle.json").is_file()
    trace_node("demo", "--once", "--dir", folder, code=2)


def test_every_identifier_has_its_check_digit():
    text = (data("consignment.jsonld") + data("declaration.csv")).decode()
    for pattern in (r"/01/(\d{14})", r"/00/(\d{18})", r"/41[47]/(\d{13})"):
        found = set(re.findall(pattern, text))
        assert found
        assert all(map(mod10, found))
    values, value = {}, 10
    for letter in "ABCDEFGHIJKLMNOPQRSTUVWXYZ":
        value += value % 11 == 0
        values[letter] = value
        value += 1
    boxes = set(re.findall(r"[A-Z]{3}U\d{7}", text))
    assert len(boxes) == 1
    (box,) = boxes  # ISO 6346
    total = sum(
        (values[c] if c.isalpha() else int(c)) << i for i, c in enumerate(box[:10])
    )
    assert total % 11 % 10 == int(box[10])


def test_quantities_are_conserved():
    events = [
        item.body["event"] for item in read_epcis(data("consignment.jsonld")).items
    ]
    made = {
        q["epcClass"]: q["quantity"]
        for e in events
        if e["type"] == "TransformationEvent"
        for q in e["outputQuantityList"]
    }
    rows = [
        item.body["row"]
        for item in read_table(data("declaration.csv"), "d", "declaration").items
    ]
    declared = {}
    for row in rows:
        name = f"https://id.gs1.org/01/{row['GTIN']}/10/{row['批号']}"
        declared[name] = declared.get(name, 0) + int(row["数量(罐)"])
    assert declared == made
    loaded = next(e for e in events if e["bizStep"] == "loading")["childEPCs"]
    assert {f"https://id.gs1.org/00/{row['托盘SSCC']}" for row in rows} == set(loaded)
    assert [e["eventTime"] for e in events] == sorted(e["eventTime"] for e in events)
