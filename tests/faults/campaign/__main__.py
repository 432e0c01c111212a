"""``python -m tests.faults.campaign``: break a center in every way we know."""

import argparse
import json
import random
import sys
import time

from tests.faults import story
from tests.faults.campaign.past import PAST
from tests.faults.campaign.runner import CALM, KINDS, plan, run_round
from tests.faults.campaign.score import scorecard, table, write_score
from tests.faults.serving import Zygote

TRIES = 4  # rounds that a control has to be caught in; chance may miss the moment


def arguments(given):
    parser = argparse.ArgumentParser(prog="python -m tests.faults.campaign")
    parser.add_argument("--seed", type=int, help="makes a plan again")
    parser.add_argument("--seconds", type=float, help="begin no round after these")
    parser.add_argument("--rounds", type=int, help="how many rounds (each kind once)")
    parser.add_argument("--only", nargs="+", metavar="KIND", help="of these kinds")
    parser.add_argument("--round-seed", type=int, help="one round again, with --only")
    parser.add_argument("--build", default="", help="a build broken on purpose")
    parser.add_argument("--controls", action="store_true", help="every control once")
    parser.add_argument("--quick", action="store_true", help="only the cheap kinds")
    parser.add_argument("--list", action="store_true", help="show the kinds and end")
    return parser.parse_args(given)


def chosen(options):
    names = options.only or [
        n for n, k in KINDS.items() if k.quick or not options.quick
    ]
    unknown = set(names) - set(KINDS)
    if unknown:
        raise SystemExit(f"no such kind: {', '.join(sorted(unknown))}; see --list")
    return names


def campaign(options, zygote):
    """Run the plan; return (lines, kinds left out and why)."""
    seed = options.seed
    if seed is None:
        seed = random.SystemRandom().randrange(1 << 32)
    print(json.dumps({"seed": seed}), flush=True)
    names = chosen(options)
    left_out = {n: why for n in names if (why := KINDS[n].missing())}
    names = [name for name in names if name not in left_out]
    if options.round_seed is not None:
        rounds = [(name, options.round_seed) for name in names]
    else:
        rounds = plan(seed, names)
    until = time.monotonic() + (options.seconds or 1e9)
    count = options.rounds or (1 << 30 if options.seconds else len(names))
    lines = []
    for (name, round_seed), _ in zip(rounds, range(count), strict=False):
        if time.monotonic() > until:
            break
        line = run_round(name, round_seed, zygote, build=options.build)
        lines.append(line)
        print(json.dumps(line), flush=True)
    return seed, lines, left_out


def controls(options, zygote):
    """Run every kind against the build it must catch; return those it did not."""
    missed = []
    dice = random.Random(options.seed)
    for name in chosen(options):
        kind = KINDS[name]
        if kind.missing():
            continue
        if not starts(kind.control, zygote):
            missed.append(f"{name}: {kind.control} does not even start")
            continue
        for _ in range(TRIES):
            line = run_round(name, dice.randrange(1 << 32), zygote, build=kind.control)
            if line["faults"]:
                break
        else:
            missed.append(name)
        caught = line["faults"][0][:160] if line["faults"] else "NOT CAUGHT"
        print(
            json.dumps({"control": kind.control, "kind": name, "by": caught}),
            flush=True,
        )
    return missed


def starts(build, zygote):
    """Say whether a build registers where nothing is done to it.

    Else a control would be red because it is broken in another way than it says.
    """
    line = run_round(CALM.name, 1, zygote, build=build)
    return line["acked"] >= len(PAST.acks) + 5


def main(given=None):
    options = arguments(given)
    if options.list:
        for name, kind in KINDS.items():
            print(f"{name}: {kind.holds} [control: {kind.control}]")
        return 0
    zygote = Zygote()
    try:
        if options.controls:
            missed = controls(options, zygote)
            print(
                f"controls not caught: {missed}" if missed else "every control caught"
            )
            return bool(missed)
        seed, lines, left_out = campaign(options, zygote)
    finally:
        zygote.close()
        story.drop_templates()
    score = scorecard(seed, lines, left_out)
    write_score("faults", score)
    print(table(score))
    return 0 if score["sound"] else 1


if __name__ == "__main__":
    sys.exit(main())
