"""Tile paths, contents and proofs read from tiles (C2SP tlog-tiles)."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trace_node.errors import BadProof, LimitExceeded, Malformed, TraceNodeError
from trace_node.ledger.merkle import (
    CompactRange,
    check_consistency,
    compact_range,
    consistency_proof,
    grow,
    inclusion_proof,
)
from trace_node.ledger.tiles import (
    TileNodes,
    decode_entries,
    encode_entries,
    entries_path,
    node_from_tile,
    parse_tile_path,
    partial_width,
    tile_of_node,
    tile_path,
    tile_root,
    tile_width,
    tiles_for_size,
)
from trace_node.trust.merkle import check_inclusion, leaf_hash, root_of

LEAVES = [leaf_hash(i.to_bytes(4)) for i in range(70_000)]


def all_tiles(size):
    """The tiles of a tree, made by the definition: MTH of full tiles below."""
    tiles, hashes, level = {}, LEAVES[:size], 0
    while hashes:
        for at in range(0, len(hashes), 256):
            tiles[level, at // 256, len(hashes[at : at + 256])] = b"".join(
                hashes[at : at + 256]
            )
        full = len(hashes) // 256
        hashes = [root_of(hashes[i * 256 : i * 256 + 256]) for i in range(full)]
        level += 1
    return tiles


def test_spec_examples():
    assert tile_path(0, 1_234_067) == "tile/0/x001/x234/067"
    assert entries_path(273, 112) == "tile/entries/273.p/112"
    assert parse_tile_path("tile/entries/x001/x234/067.p/5") == (None, 1_234_067, 5)
    tiles = list(tiles_for_size(70_000))
    assert tiles[:273] == [(0, i, 256) for i in range(273)]
    assert tiles[273:] == [(0, 273, 112), (1, 0, 256), (1, 1, 17), (2, 0, 1)]
    assert list(tiles_for_size(256)) == [(0, 0, 256), (1, 0, 1)]
    assert list(tiles_for_size(0)) == []
    assert [partial_width(*at, 70_000) for at in ((0, 273), (1, 1), (2, 0), (0, 0), (0, 999))] == [
        112, 17, 1, 0, 0,
    ]  # fmt: skip
    assert (tile_width(0, 0, 70_000), tile_width(0, 274, 70_000)) == (256, 0)


@given(st.none() | st.integers(0, 63), st.integers(0, 2**63 - 1), st.integers(1, 256))
def test_paths_round_trip(level, index, width):
    assert parse_tile_path(tile_path(level, index, width)) == (level, index, width)


@pytest.mark.parametrize(
    "path",
    [
        "", "tile/0/67", "tile/00/067", "tile/64/067", "tile/-1/067", "tile/0/x000/067",
        "tile/0/x067", "tile/0/1234", "tile/0/001/067", "tile/0/067.p/0", "tile/0/067.p/256",
        "tile/0/067.p/05", "tile/0/067.p/", "tile/0/067.p/1000", "/tile/0/067", "tile/0/067/",
        "tile/0/067\n", "tile/entry/067", "tile/0/٠٦٧", "tile/0/x1/067", "tile/٣/067",
        "tile/0/" + "x999/" * 6 + "999",
    ],
)  # fmt: skip
def test_bad_paths(path):
    with pytest.raises(Malformed):
        parse_tile_path(path)


@pytest.mark.parametrize(
    "args", [(64, 0), (-1, 0), (0, -1), (0, 0, 0), (0, 0, 257), (0, 2**63)]
)
def test_no_path_for(args):
    with pytest.raises(Malformed):
        tile_path(*args)


@settings(max_examples=300)
@given(st.text(alphabet="tile/0123456789x.pentris", max_size=40))
def test_any_path_text(text):
    try:
        parsed = parse_tile_path(text)
    except Malformed:
        return
    assert tile_path(*parsed) == text


@pytest.mark.parametrize(
    "size", [1, 2, 255, 256, 257, 511, 65_535, 65_536, 65_793, 70_000]
)
def test_proofs_from_tiles(size):
    tiles = all_tiles(size)
    assert set(tiles) == set(tiles_for_size(size))
    node = TileNodes(lambda *at: tiles[at], size)
    growth = grow(CompactRange(), LEAVES[:size])
    assert compact_range(size, node) == growth.frontier
    for index in {0, 1, size // 3, size // 2, size - 1} & set(range(size)):
        path = inclusion_proof(index, size, TileNodes(lambda *at: tiles[at], size))
        assert path == growth.path(index)
        check_inclusion(LEAVES[index], index, size, path, growth.root)
    for old in {1, 2, 255, 256, size // 2, size - 1, size} & set(range(1, size + 1)):
        proof = consistency_proof(old, size, node)
        check_consistency(old, root_of(LEAVES[:old]), size, growth.root, proof)


def test_growth_writes_the_tiles():
    """What a batch adds at tree levels 0, 8, 16 is what tiles append."""
    before = grow(CompactRange(), LEAVES[:65_000]).frontier
    growth = grow(before, LEAVES[65_000:70_000])
    for level in range(3):
        first, nodes = growth.new_nodes(8 * level)
        for k, value in enumerate(nodes, start=first):
            width = tile_width(level, k // 256, 70_000)
            tile = TILES[level, k // 256, width]
            assert tile[k % 256 * 32 : k % 256 * 32 + 32] == value


TILES = all_tiles(70_000)


def test_node_from_tile():
    tile = TILES[0, 0, 256]
    assert tile_root(tile) == root_of(LEAVES[:256]) == TILES[1, 0, 256][:32]
    for level in range(9):
        for k in range(256 >> level):
            want = root_of(LEAVES[k << level : (k + 1) << level])
            assert node_from_tile(tile, level, k) == want
            assert tile_of_node(level + 8, k)[0] == (1 if level < 8 else 2)
    assert tile_of_node(3, 33) == (0, 1, 3, 1)
    partial = tile[: 32 * 5]
    assert node_from_tile(partial, 2, 0) == root_of(LEAVES[:4])
    for level, k in [(2, 1), (0, 5), (3, 0), (-1, 0), (9, 0), (0, -1)]:
        with pytest.raises(BadProof):
            node_from_tile(partial, level, k)
    for bad in (b"", tile[:31], tile + tile[:32]):
        with pytest.raises(Malformed):
            node_from_tile(bad, 0, 0)


def test_tile_nodes_refuse():
    node = TileNodes(lambda *at: TILES[at][:-32], 70_000)
    with pytest.raises(Malformed, match="tile/0/000"):
        node(0, 0)
    good = TileNodes(lambda *at: TILES[at], 70_000)
    for level, k in [(0, 70_000), (-1, 0), (0, -1), (17, 0), (16, 1)]:
        with pytest.raises(BadProof):
            good(level, k)


def test_tile_nodes_read_little():
    reads = []

    def read(*at):
        reads.append(at)
        return TILES[at]

    inclusion_proof(12_345, 70_000, TileNodes(read, 70_000))
    assert len(reads) == len(set(reads)) <= 6
    many = TileNodes(read, 70_000)
    for k in range(70_000 // 256):
        many(0, k * 256)
    assert len(many._tiles) <= 64


@given(st.lists(st.binary(max_size=300), min_size=1, max_size=256))
def test_entries_round_trip(entries):
    assert decode_entries(encode_entries(entries)) == entries


def test_entries_limits():
    longest = b"x" * 65_535
    assert decode_entries(encode_entries([longest, b""])) == [longest, b""]
    for bad in ([longest + b"x"], [b""] * 257):
        with pytest.raises(LimitExceeded):
            encode_entries(bad)
    with pytest.raises(LimitExceeded):
        decode_entries(b"\0\0" * 257)
    for cut in (b"", b"\0", b"\0\1", b"\0\1ab"):
        with pytest.raises(Malformed):
            decode_entries(cut)
    with pytest.raises(Malformed):
        encode_entries([])


@given(st.binary(max_size=600))
def test_random_bundles(data):
    try:
        entries = decode_entries(data)
    except TraceNodeError:
        return
    assert encode_entries(entries) == data
