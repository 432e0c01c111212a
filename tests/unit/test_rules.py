"""Rules are the bytes of standards/ and nothing else."""

from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread

import orjson
import pytest

from trace_node.errors import Malformed, Refused
from trace_node.rules import load_rules


def rules(schema):
    return load_rules({"1-x/schemas/party.json": orjson.dumps(schema)})


@pytest.fixture
def host():
    asked = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"{}")

        def log_message(self, *args):
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", asked
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_schema_is_never_fetched(host, tmp_path):
    """Pure packages touch no wire, also not through a library; nor the disk."""
    address, asked = host
    file = tmp_path / "x.json"
    file.write_bytes(b"{}")
    for reference in (f"{address}/x.json", file.as_uri(), "other.json"):
        for schema in ({"$ref": reference}, {"properties": {"a": {"$ref": reference}}}):
            with pytest.raises(Malformed, match=r"no JSON Schema") as caught:
                rules(schema)
            assert caught.value.where == "1-x/schemas/party.json"
    assert asked == []


def test_a_reference_inside_the_schema_holds():
    made = rules({"$ref": "#/$defs/a", "$defs": {"a": {"required": ["n"]}}})
    made.check("party", {"n": 1})
    with pytest.raises(Refused):
        made.check("party", {})


def test_a_refusal_is_short_however_long_the_value():
    made = rules({"additionalProperties": {"type": "integer"}})
    with pytest.raises(Refused) as caught:
        made.check("party", {"k" * 100_000: ["x" * 100_000]})
    assert len(str(caught.value)) < 1_000
    assert caught.value.where.startswith("body.kkk")
    with pytest.raises(Refused, match="is not of type"):
        made.check("party", {"k": "x"})
