"""Mutated input for every reader; short here, long with `make fuzz`.

    TRACE_NODE_FUZZ_SECONDS=600 TRACE_NODE_FUZZ_SEED=7 pytest tests/fuzz

The seconds are shared among the targets. What fails is shown with its seed and
round, and `mutated(SEEDS[target], seed, round)` makes the same bytes again.
"""

import os
import sys
from itertools import count
from pathlib import Path
from time import monotonic

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from mutate import mutated
from targets import SEEDS, fuzz_cbor, fuzz_note, takes

SECONDS = float(os.environ.get("TRACE_NODE_FUZZ_SECONDS", "5"))
SEED = os.environ.get("TRACE_NODE_FUZZ_SEED", "1")
ROUNDS = 25  # at least, whatever the clock says


def name_of(target):
    return target.__name__.removeprefix("fuzz_")


@pytest.mark.parametrize("target", SEEDS, ids=name_of)
def test_mutations_are_read_one_way_or_refused(target):
    seeds = SEEDS[target]
    assert any(takes(target, seed) for seed in seeds), "no seed is good"
    end = monotonic() + SECONDS / len(SEEDS)
    taken = 0
    for number in count():
        if number >= ROUNDS and monotonic() > end:
            break
        data = mutated(seeds, SEED, number)
        try:
            taken += takes(target, data)
        except BaseException as error:
            error.add_note(f"seed {SEED}, round {number}: {data!r}")
            raise
    print(f"{name_of(target)}: {number} inputs, {taken} taken, seed {SEED}")


def test_a_reader_that_takes_a_second_spelling_is_found(monkeypatch):
    """The negative control: the same loop over readers broken on purpose."""
    monkeypatch.setattr(
        "trace_node.trust.cbor._MIN", dict.fromkeys((24, 25, 26, 27), 0)
    )
    with pytest.raises(AssertionError):
        takes(fuzz_cbor, b"\x18\x01")
    monkeypatch.setattr("targets.parse_note", lambda data: 1 // 0)
    with pytest.raises(ZeroDivisionError):
        takes(fuzz_note, b"x")
