"""Scorecards: one JSON file a campaign in build/score/, and ``make score`` of them all.

A scorecard is an object with ``sound`` (true, false, or null where it was left out)
and, if there is anything to sum up, ``total`` with figures by name.
"""

import json
import sys
from pathlib import Path

FOLDER = Path(__file__).resolve().parents[3] / "build" / "score"
LOST = (
    "lost",
    "does not open",
    "cannot be read",
    "a record that was taken",
    "replaced",
)
FORKED = ("contradicts", "no prefix", "two statements", "in two ways", "something else")


def scorecard(seed, lines, left_out):
    """Sum the rounds up by kind."""
    kinds = {}
    for line in lines:
        row = kinds.setdefault(line["kind"], new_row())
        row["rounds"] += 1
        row["injected"] += line["injected"]
        for name in ("acked", "heads", "refused"):
            row[name] += line.get(name, 0)
        row["stall"] = max(row["stall"], line.get("stall", 0.0))
        row["lost"] += sum(any(w in f for w in LOST) for f in line["faults"])
        row["forks"] += sum(any(w in f for w in FORKED) for f in line["faults"])
        if line["faults"]:
            row["verdict"] = "FAILED"
            row["seeds"].append(line["seed"])
    for name, why in left_out.items():
        kinds[name] = new_row() | {"verdict": f"left out: {why}"}
    total = {
        name: sum(row[name] for row in kinds.values())
        for name in ("rounds", "injected", "acked", "heads", "lost", "forks", "refused")
    }
    sound = bool(lines) and not any(line["faults"] for line in lines)
    return {"seed": seed, "sound": sound, "total": total, "kinds": kinds}


def new_row():
    counts = dict.fromkeys(
        ("rounds", "injected", "acked", "heads", "lost", "forks", "refused"), 0
    )
    return counts | {"stall": 0.0, "verdict": "holds", "seeds": []}


def table(score):
    """Return the scorecard for people."""
    names = (
        "rounds",
        "injected",
        "acked",
        "heads",
        "lost",
        "forks",
        "refused",
        "stall",
    )
    lines = [f"{'kind':30}" + "".join(f"{name:>9}" for name in names) + "  verdict"]
    for kind, row in sorted(score["kinds"].items()):
        cells = "".join(f"{row[name]:>9}" for name in names)
        seeds = f" (round seeds {row['seeds'][:3]})" if row["seeds"] else ""
        lines.append(f"{kind:30}{cells}  {row['verdict']}{seeds}")
    total = score["total"]
    cells = "".join(f"{total.get(name, ''):>9}" for name in names)
    verdict = "all hold" if score["sound"] else "FAILED"
    return "\n".join([*lines, f"{'together':30}{cells}  {verdict}"])


def write_score(name, score):
    """Keep a scorecard for ``make score``."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    path = FOLDER / f"{name}.json"
    path.write_text(json.dumps(score, indent=1, sort_keys=True) + "\n")
    return path


def collect(folder):
    """Return all scorecards by name; one that cannot be read is unsound."""
    found = {}
    for path in sorted(folder.glob("*.json")):
        try:
            score = json.loads(path.read_text())
            sound, total = score["sound"], score.get("total", {})
        except (ValueError, KeyError, TypeError) as error:
            sound, total = False, {"unreadable": f"{type(error).__name__}: {error}"}
        found[path.stem] = {"sound": sound, "total": total}
    return found


def overview(found):
    """Return the table of all scorecards."""
    lines = []
    for name, score in found.items():
        verdict = {True: "holds", False: "FAILED", None: "left out"}[score["sound"]]
        figures = ", ".join(f"{k} {v}" for k, v in score["total"].items())
        lines.append(f"{name:16}{verdict:10}{figures}")
    return "\n".join(lines)


def main():
    """Print and keep the one JSON of all, then the table."""
    found = collect(FOLDER)
    if not found:
        print(f"no scorecard in {FOLDER}: `make faults` and `make powercut` write some")
        return 1
    text = json.dumps(found, indent=1, sort_keys=True)
    (FOLDER.parent / "score.json").write_text(text + "\n")
    print(text)
    print(overview(found))
    return int(any(score["sound"] is False for score in found.values()))


if __name__ == "__main__":
    sys.exit(main())
