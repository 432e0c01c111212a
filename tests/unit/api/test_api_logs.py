"""Lines of the log: no secret in them, and nobody forges one."""

import io
import json
import logging
import sys

import pytest

from trace_node.api import logs
from trace_node.api.logs import JsonLines, Redactor, TextLines, clean, secrets_of
from trace_node.config import build

SECRET = "s3cr3t value/+@"


def line(message="hello", *args, form=JsonLines, worker=None, error=None, **extra):
    record = logging.LogRecord(
        "trace_node",
        logging.WARNING,
        __file__,
        1,
        message,
        args,
        (type(error), error, error.__traceback__) if error else None,
    )
    vars(record).update(extra)
    return form(worker).format(record)


@pytest.fixture
def known(monkeypatch):
    redactor = Redactor()
    redactor.learn([SECRET])
    monkeypatch.setattr(logs, "redact", redactor)
    return redactor


def test_a_line_is_one_object_with_its_fields():
    told = json.loads(
        line("took %d", 3, worker=2, event="commit", fields={"seconds": 0.5})
    )
    assert told.pop("time").endswith("Z")
    assert told == {
        "level": "warning",
        "event": "commit",
        "message": "took 3",
        "worker": 2,
        "seconds": 0.5,
    }


def test_the_request_on_whose_way_it_was_logged_is_named():
    token = logs.REQUEST.set("abc-1")
    try:
        assert json.loads(line())["request"] == "abc-1"
    finally:
        logs.REQUEST.reset(token)


@pytest.mark.parametrize("form", [JsonLines, TextLines])
@pytest.mark.parametrize(
    "hostile",
    [
        "a\nfake line",
        "a\r\nb",
        "\x1b[2Jgone",
        "\x9b31mred",
        "a\u2028b",
        "\u202egnp.exe",
        "nul\0",
        "lone \ud800",
        "del\x7f",
    ],
)
def test_nobody_forges_a_line_or_paints_over_one(form, hostile):
    told = line("path %s", hostile, form=form, fields={"route": hostile})
    assert told.isprintable()
    assert len(told.splitlines()) == 1
    told.encode()


def test_what_is_printable_stays_as_it_is():
    assert clean("全球溯源中心 ok") == "全球溯源中心 ok"


@pytest.mark.parametrize("form", [JsonLines, TextLines])
def test_a_traceback_is_told_without_the_secret_it_quotes(known, form):
    try:
        raise ValueError(f"could not connect with {SECRET}\nand \x1b[1m more")
    except ValueError as error:
        told = line("failed", form=form, error=error)
    assert "could not connect with ***" in told
    assert SECRET not in told
    assert "\x1b" not in told


def test_a_line_is_bounded():
    assert len(line("x" * 1_000_000)) < 2 * logs.MESSAGE


SPELLED = [
    SECRET,
    "s3cr3t%20value%2F%2B%40",
    "s3cr3t%20value/%2B%40",
    f"url=postgresql://me:{SECRET}@db/x",
]


@pytest.mark.parametrize("text", SPELLED)
def test_a_known_secret_is_hidden_however_it_is_spelled(known, text):
    assert "s3cr3t" not in known(text)


LOOKS = {
    "postgresql+psycopg://me:hunter22@db/x failed": "postgresql+psycopg://me:***@db/x",
    "s3://id:hun@ter22@host/bucket": "s3://id:***@host/bucket",
    "Authorization: Basic aHVudGVyMjI=": "Authorization: ***",
    "[(b'authorization', b'Bearer hunter22')]": "authorization', b'***",
    "Cookie: session=hunter22; other=hunter22": "Cookie: ***",
    "sent Bearer hunter22": "Bearer ***",
    "GET /x?token=hunter22&a=b": "token=***&a=b",
    "X-Amz-Signature=hunter22": "X-Amz-Signature=***",
    "password='hunter22'": "password='***'",
    '{"secret_access_key": "hunter22"}': '"secret_access_key": "***"',
    "-----BEGIN PRIVATE KEY-----\nhunter22\n-----END PRIVATE KEY-----": "***",
    "-----BEGIN EC PRIVATE KEY-----\nhunter22 cut off": "***",
}


@pytest.mark.parametrize("text", LOOKS)
def test_what_looks_like_a_secret_is_hidden(text):
    told = Redactor()(text)
    assert "hunter22" not in told
    assert "ter22" not in told
    assert LOOKS[text] in told


@pytest.mark.parametrize(
    "text",
    [
        "worker 1 ended with -9: no word",
        "GET /v1/records/{digest} 404",
        "https://127.0.0.1:8080/log",
        "the rules installed are not those that the log's policy names",
        "secrets are kept; tokens, too",
    ],
)
def test_what_is_none_stays(text):
    assert Redactor()(text) == text


def test_settings_and_environment_name_the_secrets():
    settings = build(
        None,
        {
            "origin": "a.example/log",
            "passphrase": "open sesame",
            "database_url": "postgresql+psycopg://me:in%20db@h/x",
        },
    )
    environment = {
        "AWS_SECRET_ACCESS_KEY": "aws-secret",
        "AWS_SESSION_TOKEN": "aws-token",
        "PGPASSWORD": "pg-word",
        "DATABASE_URL": "postgresql://u:in-url@h/x",
        "PGPASSFILE": "/home/x/.pgpass",
        "HOME": "/home/x",
    }
    assert secrets_of(settings, environment) == {
        *("open sesame", "aws-secret", "aws-token", "pg-word", "in-url"),
        *("in%20db", "in db", "postgresql+psycopg://me:in%20db@h/x"),
    }


def test_a_short_secret_does_not_hide_every_line():
    redactor = Redactor()
    redactor.learn(["a", ""])
    assert redactor("a banana") == "a banana"


@pytest.mark.parametrize(("log", "is_json"), [("json", True), ("text", False)])
def test_the_form_is_a_setting(log, is_json):
    settings = build(None, {"origin": "a.example/log", "log": log})
    told = logged(settings)
    assert told.startswith("{") == is_json
    assert "it began" in told


def test_a_file_or_pipe_gets_json_by_itself():
    assert logged(build(None, {"origin": "a.example/log"})).startswith("{")


def logged(settings):
    stream = io.StringIO()
    root = logging.getLogger()
    before = root.handlers[:], root.level
    root.handlers = []  # the test runner's own stay open
    showing = sys.modules["warnings"].showwarning
    try:
        logs.set_up(settings, stream=stream)
        logging.getLogger("trace_node").info("it began")
    finally:
        logging.captureWarnings(capture=False)
        root.handlers, level = before
        root.setLevel(level)
    assert sys.modules["warnings"].showwarning is showing
    return stream.getvalue()
