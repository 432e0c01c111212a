"""Operations: health, metrics, who the center is, and what the API says of itself."""

import jsonschema_rs
import pytest
from api_story import COSE, eventually, fresh
from prometheus_client.parser import text_string_to_metric_families

ROUTES = {
    "/.well-known/scitt-keys": {"get"},
    "/.well-known/scitt-keys/{kid}": {"get"},
    "/entries": {"post"},
    "/entries/{entry_id}": {"get"},
    "/entries/{entry_id}/proof": {"get"},
    "/entries/{entry_id}/statement": {"get"},
    "/health/live": {"get"},
    "/health/ready": {"get"},
    "/log/checkpoint": {"get"},
    "/log/tile/{path}": {"get"},
    "/metrics": {"get"},
    "/submissions": {"post"},
    "/v1/center": {"get"},
    "/v1/records/{digest}": {"get", "put"},
}


@pytest.fixture
def document(client):
    return client.get("/openapi.json").json()


def test_it_lives_and_is_ready(client):
    assert client.get("/health/live").json() == {"live": True}
    ready = client.get("/health/ready")
    assert ready.status_code == 200
    assert ready.json()["ready"] is True
    assert ready.json()["problem"] == ""


def test_metrics_parse_and_count_entries(client):
    def entries():
        text = client.get("/metrics").text
        found = {
            sample.name: sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        }
        assert found["trace_node_ready"] == 1
        assert found["trace_node_uptime_seconds"] > 0
        return found["trace_node_entries_total"], found["trace_node_log_size"]

    before = entries()
    client.post("/entries", content=fresh(), headers=COSE)
    after = entries()
    assert before[0] < after[0] <= before[0] + 2  # a tick may come with it
    assert before[1] < after[1]


def test_what_is_registered_is_soon_published(client):
    answer = client.post("/entries", content=fresh(), headers=COSE)
    index = int(answer.headers["location"].removeprefix("/entries/1."))

    def published():
        return client.get("/health/ready").json()["published"] > index

    assert eventually(published)


def test_the_center_says_who_it_is(center, client):
    said = client.get("/v1/center").json()
    assert said["origin"] == "api.example/log"
    assert said["name"] == "测试中心"
    assert said["vkey"] in (center.folder / "policy.txt").read_text()
    assert all(name.startswith("ni:///sha-256;") for name in said["rules"].values())


@pytest.mark.parametrize("path", ["/", "/nowhere", "/v1", "/log", "/entriesx", "/docs"])
def test_a_path_that_is_none_is_a_problem(client, path):
    answer = client.get(path)
    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json() == {
        "type": "urn:trace-node:problem:not-found",
        "title": "not found",
        "status": 404,
        "detail": "Not Found",
        "where": "path",
    }


def test_a_method_that_is_none_is_told_which_there_are(client):
    answer = client.delete("/v1/records/x")
    assert answer.status_code == 405
    assert answer.json()["type"] == "urn:trace-node:problem:method-not-allowed"
    assert "allow" in answer.headers


def test_a_target_that_is_too_long_is_told_so(client):
    answer = client.get("/v1/center", params={"q": "a" * 3_000})
    assert answer.status_code == 414


def test_the_document_lists_every_route(document):
    paths = {path: set(methods) for path, methods in document["paths"].items()}
    assert paths == ROUTES


def test_the_document_is_openapi_3_1(document):
    assert document["openapi"].startswith("3.1.")
    assert document["info"]["version"]
    names = []
    for path, methods in document["paths"].items():
        for operation in methods.values():
            names.append(operation["operationId"])
            told = {
                p["name"] for p in operation.get("parameters", ()) if p["in"] == "path"
            }
            assert told == {part.split("}")[0] for part in path.split("{")[1:]}
            for status, response in operation["responses"].items():
                assert 200 <= int(status) < 600
                assert response["description"]
                for media in response.get("content", {}).values():
                    check_schema(media.get("schema"), document)
            for parameter in operation.get("parameters", ()):
                check_schema(parameter["schema"], document)
    assert len(set(names)) == len(names)


def check_schema(schema, document):
    if schema is not None:
        whole = {**schema, "components": document.get("components", {})}
        jsonschema_rs.validator_for(whole)


def test_the_document_names_the_problems_that_are_answered(document):
    for path, methods in document["paths"].items():
        scrapi = path.startswith(("/entries", "/.well-known"))
        kind = (
            "application/concise-problem-details+cbor"
            if scrapi
            else "application/problem+json"
        )
        for operation in methods.values():
            for status, response in operation["responses"].items():
                if int(status) >= 400 and path != "/health/ready":
                    assert list(response["content"]) == [kind]
    assert "ValidationError" not in str(document)
