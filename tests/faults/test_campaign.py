"""The fault campaign's short form: the cheap kinds once, a few by a fresh seed.

TRACE_NODE_SEED makes the fresh rounds again. ``make faults`` is the long form, and
runs every kind against the build that it must catch, too.
"""

import json
import os
import random

import pytest

from tests.faults import story
from tests.faults.broken_servers import SERVERS
from tests.faults.campaign import score
from tests.faults.campaign.__main__ import main
from tests.faults.campaign.runner import KINDS, plan, run_round
from tests.faults.serving import Zygote

SEED = int(os.environ.get("TRACE_NODE_SEED", "0")) or random.SystemRandom().randrange(
    1 << 32
)
CHEAP = [
    "kill during migration",
    "disk full",
    "EIO on fsync",
    "EIO on the kept head",
    "writes cut short",
    "bit flip in a tile",
    "bit flip in the kept head",
    "half-open connections",
    "connection storm",
    "no more descriptors",
    "clock jumps ahead",
]
FRESH = 2  # rounds by the fresh seed, of any kind that is quick
CONTROLS = ["connection storm", "bit flip in a tile", "head file deleted"]


@pytest.fixture(scope="module")
def zygote():
    zygote = Zygote()
    yield zygote
    zygote.close()
    story.drop_templates()


@pytest.mark.parametrize("name", CHEAP)
def test_a_fault_of_each_cheap_kind_is_survived(name, zygote):
    if reason := KINDS[name].missing():
        pytest.skip(reason)
    line = run_round(name, 1, zygote)
    print(json.dumps(line))
    assert line["injected"]
    assert line["faults"] == []


def test_faults_by_a_fresh_seed_are_survived(zygote):
    print(f"TRACE_NODE_SEED={SEED}")
    names = [n for n, kind in KINDS.items() if kind.quick and not kind.missing()]
    for (name, seed), _ in zip(plan(SEED, names), range(FRESH), strict=False):
        line = run_round(name, seed, zygote)
        print(json.dumps(line))
        assert line["faults"] == [], (SEED, line)


@pytest.mark.parametrize("name", CONTROLS)
def test_the_same_round_goes_red_on_the_build_it_must_catch(name, zygote):
    line = run_round(name, 1, zygote, build=KINDS[name].control)
    print(json.dumps(line))
    assert line["acked"]
    assert line["faults"]


def test_there_are_many_kinds_and_each_has_a_control():
    assert len(KINDS) >= 40
    assert {kind.control for kind in KINDS.values()} <= set(SERVERS) - {""}
    assert all(kind.holds for kind in KINDS.values())


def test_the_same_seed_is_the_same_plan_and_begins_with_every_kind():
    def first(seed, count):
        rounds = plan(seed, KINDS)
        return [next(rounds) for _ in range(count)]

    assert first(7, 100) == first(7, 100) != first(8, 100)
    assert {name for name, _ in first(7, len(KINDS))} == set(KINDS)


def line(kind, *faults):
    figures = {"injected": 2, "acked": 10, "heads": 3, "refused": 1, "stall": 0.5}
    return {"kind": kind, "seed": 5, "faults": list(faults), **figures}


def test_the_scorecard_counts_and_one_fault_fails_it():
    sound = score.scorecard(1, [line("a"), line("a")], {"b": "no strace"})
    assert sound["sound"]
    assert sound["kinds"]["a"]["acked"] == 20
    assert sound["kinds"]["b"]["verdict"] == "left out: no strace"
    assert "all hold" in score.table(sound)
    lost = line("a", "acknowledged entry 3 is lost or replaced")
    fork = line("a", "the head of size 3 is no prefix of the log")
    failed = score.scorecard(1, [line("a"), lost, fork], {})
    assert not failed["sound"]
    assert (failed["total"]["lost"], failed["total"]["forks"]) == (1, 1)
    assert "FAILED (round seeds [5, 5])" in score.table(failed)
    assert not score.scorecard(1, [], {})["sound"]


def test_scorecards_are_collected_and_one_that_is_spoiled_fails(tmp_path, monkeypatch):
    folder = tmp_path / "build" / "score"
    monkeypatch.setattr(score, "FOLDER", folder)
    score.write_score("faults", score.scorecard(1, [line("a")], {}))
    score.write_score("powercut", {"sound": None, "left out": "no root"})
    found = score.collect(folder)
    assert found["faults"]["sound"] is True
    assert "powercut        left out" in score.overview(found)
    assert score.main() == 0
    assert json.loads((folder.parent / "score.json").read_text()) == found
    (folder / "other.json").write_text("[]")
    assert score.main() == 1


def test_an_unknown_kind_is_told():
    with pytest.raises(SystemExit, match="no such kind: frost"):
        main(["--only", "frost"])
