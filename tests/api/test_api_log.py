"""The log as tiles: what is served leads to the checkpoint, and to nothing else."""

import pytest
from api_story import eventually, fresh, item, lines_of, request

from trace_node.ledger.checkpoint import open_checkpoint
from trace_node.ledger.merkle import compact_range
from trace_node.ledger.tiles import (
    TILE_WIDTH,
    TileNodes,
    decode_entries,
    entries_path,
    tile_path,
    tiles_for_size,
)
from trace_node.trust.merkle import leaf_hash
from trace_node.trust.policy import parse_policy

ORIGIN = "api.example/log"


@pytest.fixture(scope="module")
def head(center):
    """A published head over more than a full tile."""
    policy = parse_policy((center.folder / "policy.txt").read_text())
    keys = policy.log_for(ORIGIN)
    with center.client() as client:
        body = b"".join(item(fresh()) for _ in range(320))
        answer = client.post("/submissions", content=body)
        last = lines_of(answer.text)[-1]["index"]

        def published():
            note = client.get("/log/checkpoint").content
            checkpoint, _, _ = open_checkpoint(note, keys)
            return checkpoint if checkpoint.size > last else None

        yield eventually(published)


def get(client, path):
    answer = client.get(f"/log/{path}")
    assert answer.status_code == 200, path
    assert "immutable" in answer.headers["cache-control"]
    return answer.content


def test_the_checkpoint_is_text_and_soon_stale(client, head):
    answer = client.get("/log/checkpoint")
    assert answer.headers["content-type"].startswith("text/plain")
    assert answer.headers["cache-control"] == "public, max-age=1"
    assert answer.text.startswith(f"{ORIGIN}\n")


def test_the_tiles_of_all_levels_lead_to_the_checkpoint(client, head):
    tiles = {
        (level, index): get(client, tile_path(level, index, width))
        for level, index, width in tiles_for_size(head.size)
    }
    assert {level for level, _ in tiles} == {0, 1}
    nodes = TileNodes(lambda level, index, _: tiles[level, index], head.size)
    assert compact_range(head.size, nodes).root() == head.root


def test_the_entry_bundles_are_what_the_leaves_were_made_of(client, head):
    for level, index, width in tiles_for_size(head.size):
        if level == 0:
            bundle = decode_entries(get(client, entries_path(index, width)))
            leaves = b"".join(leaf_hash(entry) for entry in bundle)
            assert leaves == get(client, tile_path(0, index, width))


def test_a_partial_tile_is_the_beginning_of_the_tile(client, head):
    whole = get(client, tile_path(0, 0))
    entries = decode_entries(get(client, entries_path(0)))
    for width in (1, 2, 100, 255):
        assert get(client, tile_path(0, 0, width)) == whole[: width * 32]
        assert decode_entries(get(client, entries_path(0, width))) == entries[:width]


@pytest.mark.parametrize(
    "path",
    [
        "0/999",
        "0/999.p/1",
        "1/000",
        "7/000.p/1",
        "63/000.p/1",
        "64/000",
        "0/0",
        "0/00",
        "0/0000",
        "0/x000/000",
        "00/000",
        "0/000.p/0",
        "0/000.p/256",
        "0/000.p/01",
        "0/000.p/",
        "entries/999",
        "entries/000.p/256",
        "entries/",
        "",
        "0",
        "0/000/",
        "%2e%2e/0/000",
        "\u0660/000",
        "0/x009/x223/x372/x036/x854/x775/807",
        "0/x999/x999/x999/x999/x999/x999/999",
    ],
)
def test_a_path_that_is_no_tile_of_this_log_is_not_found(client, head, path):
    answer = client.get(f"/log/tile/{path}")
    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["type"] == "urn:trace-node:problem:not-found"


def test_dots_in_a_path_lead_nowhere(center):
    for path in ("tile/0/../0/000", "../log/checkpoint", "tile/../checkpoint"):
        assert center.raw(request("GET", f"/log/{path}")).status == 404


def test_a_tile_grows_with_the_log_and_is_never_ahead_of_it(client, head):
    index, width = divmod(head.size, TILE_WIDTH)
    assert client.get(f"/log/{tile_path(0, index + 1, 1)}").status_code == 404
    assert client.get(f"/log/{tile_path(0, index)}").status_code == 404
    assert len(get(client, tile_path(0, index, width))) == width * 32
