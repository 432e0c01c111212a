from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trace_node.errors import BadProof, LimitExceeded, Malformed, TraceNodeError
from trace_node.trust.manifest import (
    MAX_RECORDS,
    check_manifest,
    manifest_path,
    manifest_preimage,
)


def digests(count):
    return [sha256(bytes([n & 255, n >> 8])).digest() for n in range(count)]


def parts(count, index):
    """Return payload, count, root, index, digest and path of a good proof."""
    all_ = digests(count)
    preimage = manifest_preimage(all_)
    return [
        sha256(preimage).digest(),
        count,
        preimage[8:],
        index,
        all_[index],
        manifest_path(all_, index),
    ]


def test_the_preimage_is_count_and_root():
    one, two = digests(2)
    leaves = [sha256(b"\0" + d).digest() for d in (one, two)]
    assert manifest_preimage([one]) == (1).to_bytes(8) + leaves[0]
    assert (
        manifest_preimage([one, two])
        == (2).to_bytes(8) + sha256(b"\1" + leaves[0] + leaves[1]).digest()
    )


@given(st.integers(1, 70), st.data())
def test_each_record_is_proven_alone(count, data):
    check_manifest(*parts(count, data.draw(st.integers(0, count - 1))))


@given(st.integers(1, 40), st.data())
def test_a_record_stands_at_one_place_only(count, data):
    good = parts(count, data.draw(st.integers(0, count - 1)))
    for index in range(-1, count + 2):
        if index != good[3]:
            with pytest.raises(BadProof):
                check_manifest(*good[:3], index, *good[4:])


@pytest.mark.parametrize("count", [1, 2, 3, 7, 8, 11])
def test_a_changed_dropped_doubled_or_reordered_path_is_refused(count):
    for index in range(count):
        *front, path = parts(count, index)
        bad = [[*path, bytes(32)], [bytes(32), *path]]
        for i, node in enumerate(path):
            bad += [
                path[:i] + path[i + 1 :],
                path[: i + 1] + path[i:],
                [*path[:i], node[:31], *path[i + 1 :]],
            ]
            for byte in range(32):
                flipped = node[:byte] + bytes([node[byte] ^ 1]) + node[byte + 1 :]
                bad.append([*path[:i], flipped, *path[i + 1 :]])
            if i:
                bad.append([*path[: i - 1], node, path[i - 1], *path[i + 1 :]])
        for changed in bad:
            with pytest.raises(BadProof):
                check_manifest(*front, changed)


def test_each_other_part_matters():
    good = parts(7, 3)
    other = parts(6, 3)
    for place in (0, 1, 2, 4):
        bad = list(good)
        bad[place] = other[place] if place != 4 else digests(7)[2]
        with pytest.raises(BadProof):
            check_manifest(*bad)
    for place, value in [
        (0, b""),
        (1, 0),
        (1, -1),
        (1, MAX_RECORDS + 1),
        (1, 2**70),
        (2, good[2] + b"\0"),
        (2, b""),
        (4, b""),
    ]:
        bad = list(good)
        bad[place] = value
        with pytest.raises(BadProof):
            check_manifest(*bad)


def test_an_inner_node_is_no_record():
    # Second preimage: the hashes of a pair offered as the digest of a leaf.
    payload, count, root, _, digest, path = parts(2, 0)
    with pytest.raises(BadProof):
        check_manifest(
            payload, count, root, 0, sha256(b"\0" + digest).digest() + path[0], []
        )


def test_one_to_ten_thousand_records():
    with pytest.raises(Malformed):
        manifest_preimage([])
    many = digests(MAX_RECORDS)
    assert manifest_preimage(many)[:8] == MAX_RECORDS.to_bytes(8)
    for make in (manifest_preimage, lambda d: manifest_path(d, 0)):
        with pytest.raises(LimitExceeded):
            make([*many, bytes(32)])
        with pytest.raises(Malformed):
            make([bytes(31)])
    for index in (-1, 2):
        with pytest.raises(BadProof):
            manifest_path(digests(2), index)


@given(
    st.binary(max_size=40),
    st.integers(),
    st.binary(max_size=40),
    st.integers(),
    st.binary(max_size=40),
    st.lists(st.binary(max_size=40), max_size=4),
)
def test_nothing_made_up_is_a_proof(payload, count, root, index, digest, path):
    with pytest.raises(TraceNodeError):
        check_manifest(payload, count, root, index, digest, path)
