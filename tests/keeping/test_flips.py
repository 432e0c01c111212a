"""Bits that flip at rest: found by a scrub or refused, and never served.

TRACE_NODE_FLIPS sets how many (60), TRACE_NODE_SEED makes a run again.
"""

import os
import random
import shutil
from collections import Counter

import pytest
from flipping import Flip, answers, content, draw_any, hot_copy, judge, questions, scrub
from keeping_story import opened, rows, vault_name

from trace_node.services import bundle, checked, receipts
from trace_node.store import tiles, vault

FLIPS = int(os.environ.get("TRACE_NODE_FLIPS", "60"))
SEED = int(os.environ.get("TRACE_NODE_SEED", "0")) or random.SystemRandom().randrange(
    1 << 32
)


@pytest.fixture(scope="module")
def hot(kept, tmp_path_factory):
    return hot_copy(kept, tmp_path_factory.mktemp("hot") / "center")


@pytest.fixture(scope="module")
def sound(kept, hot, tmp_path_factory):
    """What the files mean, and what is answered, before any bit flips."""
    folder = tmp_path_factory.mktemp("sound")
    shutil.copytree(hot, folder / "meaning")
    shutil.copytree(hot, folder / "asked")
    paths = questions(kept)
    before = answers(folder / "asked", paths, kept.clock)
    assert {status for status, _ in before.values()} == {200}
    return before, content(folder / "meaning"), paths, kept.clock


def test_flipped_bits_are_found_or_refused_and_never_served(
    hot, sound, tmp_path, record_property
):
    """Bits that mean nothing (free room in a page) are drawn beside the number."""
    print(f"TRACE_NODE_SEED={SEED}")
    assert scrub(hot) == []
    dice, table, bad, effective = random.Random(SEED), Counter(), [], 0
    while effective < FLIPS:
        kind, flip = draw_any(dice, hot)
        outcome = judge(flip, hot, tmp_path / "flipped", *sound)
        effective += outcome.effect
        table[kind, outcome.word] += 1
        if not outcome.good:
            bad.append(outcome)
    for (kind, word), count in sorted(table.items()):
        print(f"{kind:10} {word:10} {count}")
    record_property("flips", {f"{k} {w}": n for (k, w), n in table.items()})
    assert bad == [], (SEED, bad[:3])


# Negative controls: builds that believe what they read.


def place_of(folder, needle, path="center.db"):
    """Return the flip of a bit inside bytes that stand in a file."""
    at = (folder / path).read_bytes().find(needle)
    assert at >= 0
    return Flip(path, at + len(needle) // 2, 3)


def column(hot, sql):
    ((value,),) = rows(hot / "center.db", sql)
    return value


def unchecked_read(self, digest):
    with self._reader.connect() as connection:
        row = connection.exec_driver_sql(self._sql.record, (digest,)).fetchone()
    return row[1] if row[1] is not None else self._blobs.get(vault.vault_name(digest))


def no_check(*_, **__):
    return None


CONTROLS = {
    "statement": (
        lambda f, k: place_of(
            f, column(f, "SELECT statement FROM entry WHERE entry_index = 39")[-40:-8]
        ),
        [(checked.CheckedLog, "_compare", no_check)],
    ),
    "receipt": (
        lambda f, k: place_of(
            f, column(f, "SELECT receipt_signature FROM head WHERE size = 3")
        ),
        [(receipts, "verify_leaf", no_check)],
    ),
    "record list": (
        lambda f, k: place_of(f, column(f, "SELECT digests FROM manifest")[64:96]),
        [
            (
                checked.CheckedLog,
                "manifest",
                lambda self, index, _: self._log.manifest(index),
            ),
            (bundle, "verify_bundle", no_check),
        ],
    ),
    "record": (
        lambda f, k: place_of(f, k.records[3][-60:-20]),
        [(vault.Vault, "read", unchecked_read)],
    ),
    "evidence": (
        lambda f, k: Flip(vault_name(k.bigs[0]), 50_000, 1),
        [(vault.Vault, "read", unchecked_read)],
    ),
}


@pytest.fixture(scope="module")
def cold(kept, tmp_path_factory):
    return kept.copy(tmp_path_factory.mktemp("cold") / "center")


@pytest.fixture(scope="module")
def sound_cold(kept, cold, tmp_path_factory):
    folder = kept.copy(tmp_path_factory.mktemp("sound cold") / "asked")
    paths = questions(kept)
    return answers(folder, paths, kept.clock), None, paths, kept.clock


@pytest.mark.parametrize("name", CONTROLS)
@pytest.mark.parametrize("broken", [False, True])
def test_only_a_build_that_does_not_compare_serves_a_flipped_bit(
    kept, cold, sound_cold, tmp_path, monkeypatch, name, broken
):
    find, patches = CONTROLS[name]
    flip = find(cold, kept)
    for owner, attribute, value in patches if broken else []:
        monkeypatch.setattr(owner, attribute, value)
    outcome = judge(flip, cold, tmp_path / "flipped", *sound_cold)
    print(name, broken, outcome.wrong[:1], outcome.refused[:1])
    assert outcome.found, "the scrub shares none of these checks"
    assert bool(outcome.wrong) == broken


@pytest.mark.parametrize("broken", [False, True])
def test_a_tile_that_flips_in_a_running_center_is_made_again(
    kept, cold, tmp_path, monkeypatch, broken
):
    folder = kept.copy(tmp_path / "center")
    if broken:

        def unchecked(self, level, index):
            return self._make.blob(level, index), False

        monkeypatch.setattr(tiles.TileStore, "_sound", unchecked)
    good = (folder / "tile/0/000").read_bytes()
    node = opened(folder, kept.clock)
    try:
        Flip("tile/0/000", 40 * 32 + 7, 1).apply(folder)
        served = node.tiles.read(0, 0)
    finally:
        node.close()
    assert (served != good) == broken
    assert ((folder / "tile/0/000").read_bytes() != good) == broken
