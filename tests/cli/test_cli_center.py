"""What an operator does by hand: found a center, register a party."""

import pytest
from cli_story import quick


@pytest.mark.parametrize("origin", ["http://x/log", "X/log", "x", "x/log/", ""])
def test_an_origin_that_is_none(tmp_path, origin):
    error = quick("init", tmp_path / "c", "--origin", origin, code=2)
    assert "127.0.0.1:8080/log" in error["help"]
    assert not (tmp_path / "c").exists()


def test_what_cannot_be_founded_leaves_nothing_behind(tmp_path):
    folder = tmp_path / "c"
    origin = ["--origin", "x.example/log"]
    quick("init", folder, *origin, "--name", "a\x1b[31m", code=1)
    assert not list(folder.iterdir())
    assert quick("init", folder, *origin)["origin"] == "x.example/log"
    policy = (folder / "policy.txt").read_bytes()
    quick("init", folder, *origin, code=2)
    assert (folder / "policy.txt").read_bytes() == policy


def test_a_folder_with_something_in_it_is_left_alone(tmp_path):
    (tmp_path / "mine").write_text("mine")
    quick("init", tmp_path, "--origin", "x.example/log", code=2)
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_the_same_key_twice_says_nothing_twice(place, tmp_path):
    quick("keys", "new", tmp_path / "k.pem")
    add = ["party", "add", place.folder, "--name", "P", "--key"]
    made = quick(*add, tmp_path / "k.pem.jwk")
    error = quick(*add, tmp_path / "k.pem.jwk", code=1)
    assert error["error"] == "conflict"
    error = quick(*add, tmp_path / "k.pem", code=1)
    assert "FILE.jwk" in error["help"]
    quick("keys", "new", tmp_path / "other.pem")
    after = quick(*add, tmp_path / "other.pem.jwk")
    # A tick may stand between, and nothing else: no half of a party.
    between = range(made["entries"][-1] + 1, after["entries"][0])
    assert len(between) <= 1


def test_no_center_there(tmp_path):
    assert "no center" in quick("audit", tmp_path, code=2)["message"]


@pytest.mark.parametrize("address", ["http://", "ftp://x", "http://x:99999"])
def test_an_address_that_is_none(address):
    assert quick("audit", address, code=2)["error"] == "misuse"
