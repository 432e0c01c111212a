"""Blobs: the same promises on files and on a real S3 server, and what ails one."""

import os
import pickle
import time
from threading import Thread

import pytest

from tests import s3
from tests.places import ORIGIN, FilePlace, S3Place
from trace_node.errors import BlobsDown, Misuse
from trace_node.store import blobs as module
from trace_node.store import blobs_s3
from trace_node.store.blobs import FileBlobs, open_blobs, write_sound
from trace_node.store.blobs_url import parse_url

NAME, OTHER = "vault/ab/cd/abcd", "tile/0/x001/234"


def test_what_was_created_is_there_and_is_left_alone(place):
    assert place.blobs.create([(NAME, b"one"), (OTHER, b"two")]) == []
    assert place.all() == {NAME, OTHER}
    assert place.blobs.create([(NAME, b"other"), ("tile/0/000", b"x")]) == [NAME]
    assert place.blobs.get(NAME) == place.get(NAME) == b"one"
    assert place.blobs.get_all([OTHER, "no", NAME]) == [b"two", None, b"one"]


def test_what_is_replaced_is_another(place):
    place.put(NAME, b"before")
    place.blobs.replace([(NAME, b"after"), (OTHER, b"new")])
    assert (place.get(NAME), place.get(OTHER)) == (b"after", b"new")


def test_nothing_there_is_none_and_no_error(place):
    assert place.blobs.get("no") is None
    assert not place.blobs.exists("no")
    place.blobs.delete(["no", "not"])
    assert list(place.blobs.names("vault")) == []
    assert place.blobs.create([]) == place.blobs.get_all([]) == []


def test_deleted_is_gone(place):
    place.blobs.create([(NAME, b"one"), (OTHER, b"two")])
    assert place.blobs.exists(NAME)
    place.blobs.delete([NAME])
    assert not place.blobs.exists(NAME)
    assert place.all() == {OTHER}


def test_names_are_those_below_a_folder(place):
    wanted = {f"vault/ab/cd/{k:04}" for k in range(1_050)}  # more than a page
    place.blobs.create([(name, b"x") for name in wanted])
    place.blobs.create([(OTHER, b"x"), ("vaults/x", b"x")])
    assert set(place.blobs.names("vault")) == wanted


def test_a_half_written_file_is_no_name(tmp_path):
    place = FilePlace(tmp_path)
    place.put("vault/ab/.abcd.12345678.tmp", b"half")
    assert list(place.blobs.names("vault")) == []


def test_writing_soundly_mends_what_differs_and_writes_no_more(place, monkeypatch):
    place.put(NAME, b"spoiled")
    place.put(OTHER, b"two")
    replaced = []
    replace = place.blobs.replace

    def spy(blobs):
        replaced.extend(given := list(blobs))
        replace(given)

    monkeypatch.setattr(place.blobs, "replace", spy)
    write_sound(place.blobs, [(NAME, b"one"), (OTHER, b"two"), ("tile/9", b"nine")])
    assert [place.get(n) for n in (NAME, OTHER, "tile/9")] == [b"one", b"two", b"nine"]
    assert replaced == [(NAME, b"one")]


def test_a_file_of_another_writer_is_made_durable_before_it_is_relied_on(
    tmp_path, monkeypatch
):
    place = FilePlace(tmp_path)
    place.put(NAME, b"renamed, and its folder not synced yet")
    synced = []
    monkeypatch.setattr(module, "sync_folder", synced.append)
    assert place.blobs.create([(NAME, b"x")]) == [NAME]
    assert synced == [(tmp_path / NAME).parent]


def test_the_setting_decides(tmp_path):
    assert isinstance(open_blobs("", tmp_path, ORIGIN), FileBlobs)
    for wrong in ("/somewhere", "file:///x", "gs://bucket", "S3://bucket"):
        with pytest.raises(Misuse, match="setting blobs"):
            open_blobs(wrong, tmp_path, ORIGIN)


def test_without_the_extra_it_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "obstore", None)
    monkeypatch.delitem(__import__("sys").modules, "trace_node.store.blobs_s3", False)
    with pytest.raises(Misuse, match=r"trace-node\[s3\]"):
        open_blobs("s3://bucket", tmp_path, ORIGIN)


def test_a_url_says_where():
    place = parse_url("s3://my.bucket-1/a/b/?endpoint=http://h:9&region=eu&timeout=2")
    assert (place.bucket, place.prefix, place.endpoint) == (
        *("my.bucket-1", "a/b"),
        "http://h:9",
    )
    assert (place.region, place.virtual, place.create, place.timeout) == (
        *("eu", False, True),
        2.0,
    )
    place = parse_url("s3://bucket?style=virtual&create=no")
    assert (place.prefix, place.virtual, place.create) == ("", True, False)


WRONG = [
    *("s3://", "s3://b", "s3://Bucket", "s3://-bucket", "s3://bucket/../up"),
    *("s3://bucket//x", "s3://bucket/a b", "s3://bucket/%2e", "s3://bucket#x"),
    *("s3://bucket?endpoint=ftp://h", "s3://bucket?endpoint=http://", "s3://bucket:1"),
    *("s3://bucket?endpoint=http://h:x", "s3://bucket?style=other", "s3://bucket?x"),
    *("s3://bucket?timeout=0", "s3://bucket?timeout=nan", "s3://bucket?timeout=1e9"),
    *("s3://bucket?create=maybe", "s3://bucket?region=a/b", "s3://[bucket"),
    "s3://bucket?timeout=1&timeout=2",
]
SECRETS = [
    "s3://AKSECRET:hushhush@bucket",
    "s3://bucket?access_key_id=AKSECRET&secret_access_key=hushhush",
    "s3://bucket?endpoint=http://AKSECRET:hushhush@h",
    "s3://bucket?aws_session_token=hushhush",
]


@pytest.mark.parametrize("url", WRONG + SECRETS)
def test_a_wrong_url_is_misuse_and_is_not_quoted(url):
    with pytest.raises(Misuse, match="setting blobs") as caught:
        open_blobs(url, None, ORIGIN)
    assert "AKSECRET" not in str(caught.value)
    assert "hushhush" not in str(caught.value)


# What ails a server.


@pytest.fixture
def opened():
    """Opens blobs by a URL, and closes them."""
    made = []

    def opened(url, key=s3.KEY, secret=s3.SECRET):
        with s3.credentials(key, secret):
            made.append(open_blobs(url, None, ORIGIN))
        return made[-1]

    yield opened
    for blobs in made:
        blobs.close()


@pytest.fixture
def bare():
    made = []

    def bare(*told):
        made.append(s3.Bare(*told))
        return made[-1]

    yield bare
    for server in made:
        server.shutdown()
        server.server_close()


@pytest.fixture
def proxied():
    """A place behind a proxy, with little patience."""
    proxy = s3.Proxy(s3.shared().port)
    place = S3Place(proxy.port, timeout=0.5)
    place.proxy = proxy
    yield place
    place.close()
    proxy.close()


def test_a_server_without_create_only_writes_is_asked_once(opened, bare):
    server = bare(501)
    blobs = opened(server.url())
    assert blobs.create([("a", b"1")]) == []
    asked = len(server.puts)
    assert 2 <= asked <= 2 + blobs_s3.RETRIES
    assert blobs.create([("b", b"2")]) == []
    assert server.puts[asked:] == [(f"/{s3.BUCKET}/{ORIGIN}/b", None)]
    assert blobs.get("a") == b"1"


def test_create_only_writes_can_be_left_out(opened, bare):
    server = bare(500)
    assert opened(server.url(create="no")).create([("a", b"1")]) == []
    assert [held for _, held in server.puts] == [None]


def test_a_conflict_with_nothing_there_is_written_all_the_same(opened, bare):
    """409: another conditional write was under way, which may have failed."""
    server = bare(409, "ConditionalRequestConflict")
    blobs = opened(server.url())
    write_sound(blobs, [("a", b"1")])
    assert server.objects[f"/{s3.BUCKET}/{ORIGIN}/a"] == b"1"


def test_a_build_that_takes_a_conflict_for_an_object_loses_it(opened, bare):
    """The control: what `create` returns is only a name to look at."""
    server = bare(409, "ConditionalRequestConflict")
    assert opened(server.url()).create([("a", b"1")]) == ["a"]
    assert server.objects == {}


@pytest.mark.parametrize("status", [400, 403, 500, 503])
def test_a_refusal_is_told_without_what_the_server_quotes(opened, bare, status):
    blobs = opened(bare(status, "SomeCode", status).url())
    with pytest.raises(BlobsDown, match=rf"answers {status} SomeCode") as caught:
        blobs.replace([("a", b"1")])
    error = caught.value
    assert (error.status, error.retry_after) == (503, 5)
    assert error.__suppress_context__
    assert s3.KEY not in str(error)
    assert s3.SECRET not in str(error) + repr(vars(error))


def test_wrong_credentials_are_told_and_do_not_appear(opened):
    server = s3.shared()
    blobs = opened(server.url("p"), "AKOTHER", "hushhush")
    for call in (
        lambda: blobs.get("a"),
        lambda: blobs.create([("a", b"1")]),
        lambda: blobs.delete(["a"]),
        lambda: list(blobs.names("")),
        blobs.check,
    ):
        blobs._looked = -blobs_s3.CHECK
        with pytest.raises(BlobsDown, match="answers 403") as caught:
            call()
        assert "hushhush" not in str(caught.value)
        assert "AKOTHER" not in str(caught.value)


def test_a_bucket_that_is_not_there_is_not_an_empty_one(opened):
    server = s3.shared()
    url = server.url("p").replace(f"s3://{s3.BUCKET}", "s3://no-such-bucket")
    blobs = opened(url)
    for call in (
        lambda: blobs.get("a"),
        lambda: blobs.get_all(["a", "b"]),
        lambda: blobs.exists("a"),
        lambda: blobs.delete(["a"]),
        lambda: list(blobs.names("")),
    ):
        with pytest.raises(BlobsDown, match="404 NoSuchBucket"):
            call()


def test_an_object_too_large_for_memory_is_not_read(proxied, monkeypatch):
    monkeypatch.setattr(blobs_s3, "LIMIT", 1_000)
    proxied.put("tile/0/000", b"x" * 1_001)
    assert proxied.blobs.get("tile/0/000") == b""
    proxied.put("tile/0/000", b"x" * 1_000)
    assert proxied.blobs.get("tile/0/000") == b"x" * 1_000


@pytest.mark.parametrize("mode", ["gone", "silent", "cut"])
def test_a_server_that_fails_in_the_middle_is_told_in_time(proxied, mode):
    data = os.urandom(100_000)
    proxied.blobs.create([(NAME, data)])
    proxied.proxy.mode = mode
    began = time.monotonic()
    with pytest.raises(BlobsDown, match=r"does not answer|answers"):
        proxied.blobs.get(NAME)
    assert time.monotonic() - began < 3
    with pytest.raises(BlobsDown):
        proxied.blobs.create([(OTHER, data)])
    proxied.proxy.mode = "through"
    proxied.blobs._again = 0.0
    assert proxied.blobs.get(NAME) == data


def test_a_slow_server_is_waited_for_and_no_longer(proxied):
    proxied.blobs.create([(NAME, b"1")])
    proxied.proxy.delay = 0.2
    assert proxied.blobs.get(NAME) == b"1"
    proxied.proxy.delay = 30
    began = time.monotonic()
    with pytest.raises(BlobsDown):
        proxied.blobs.get(NAME)
    assert time.monotonic() - began < 3


def test_while_it_is_down_calls_fail_at_once_and_one_tries(proxied):
    clock = [0.0]
    blobs = proxied.blobs
    blobs._clock = lambda: clock[0]
    proxied.proxy.mode = "silent"
    with pytest.raises(BlobsDown):
        blobs.get(NAME)
    seen = proxied.proxy.seen
    began = time.monotonic()
    for _ in range(50):
        with pytest.raises(BlobsDown):
            blobs.get(NAME)
        with pytest.raises(BlobsDown):
            blobs.check()
    assert time.monotonic() - began < 0.3
    assert proxied.proxy.seen == seen
    clock[0] = blobs_s3.PAUSE

    def fail():
        with pytest.raises(BlobsDown):
            blobs.get(NAME)

    trying = Thread(target=fail)
    trying.start()
    while proxied.proxy.seen == seen:
        time.sleep(0.01)
    began = time.monotonic()
    with pytest.raises(BlobsDown):
        blobs.get(OTHER)
    assert time.monotonic() - began < 0.2
    trying.join()
    proxied.proxy.mode = "through"
    clock[0] *= 3
    assert blobs.get(NAME) is None
    assert blobs.get(OTHER) is None


def test_few_wait_for_a_slow_server_at_a_time(proxied, monkeypatch):
    monkeypatch.setattr(blobs_s3, "PATIENCE", 0.05)
    blobs = proxied.blobs
    blobs.create([(NAME, b"1")])
    proxied.proxy.delay = 0.4
    errors = []

    def get():
        try:
            blobs.get(NAME)
        except BlobsDown as error:
            errors.append(str(error))

    turns = blobs._turns._initial_value
    threads = [Thread(target=get) for _ in range(turns + 3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == ["too many wait for the object store"] * 3


def test_somebody_looks_now_and_then(proxied):
    clock = [100.0]
    blobs = proxied.blobs
    blobs._clock = lambda: clock[0]
    blobs.check()
    seen = proxied.proxy.seen
    proxied.proxy.mode = "gone"
    blobs.check()
    assert proxied.proxy.seen == seen
    clock[0] += blobs_s3.CHECK
    with pytest.raises(BlobsDown):
        blobs.check()


def test_the_error_reaches_another_process_whole():
    error = pickle.loads(pickle.dumps(BlobsDown("the object store does not answer")))
    assert (error.message, error.retry_after) == ("the object store does not answer", 5)
