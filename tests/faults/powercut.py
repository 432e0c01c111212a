"""``make powercut``: the power is cut, and cut again in builds that sync less.

With our settings nothing acknowledged may be missing after any cut. Each control
leaves out one sync, and must show the loss that this sync is there to prevent.
"""

import argparse
import json
import shutil
import sys
from pathlib import Path
from tempfile import mkdtemp

from tests.faults import cutting, story
from tests.faults.campaign.score import write_score


def real_cuts(place, count):
    """Cut the real build; return its line of the scorecard."""
    line = {"cuts": 0, "acked": 0, "large records": 0, "lost": 0, "faults": []}
    lives = []
    for faults, told in cutting.cuts(place, count):
        line["cuts"] += 1
        # Within a life of the writer what was told only grows: count its end.
        if line["cuts"] % cutting.LIFE == 0 or line["cuts"] == count:
            lives.append(told)
        line["lost"] += bool(faults)
        line["faults"] += faults[:3]
        print(json.dumps({"cut": line["cuts"], "acked": len(told.acks)}), flush=True)
    line["acked"] = sum(len(told.acks) for told in lives)
    line["large records"] = sum(len(told.files) for told in lives)
    return line


def table(score):
    real = score["real"]
    lines = [
        f"{'build':18}{'cuts':>6}{'acked':>9}  what is missing after a cut",
        f"{'ours':18}{real['cuts']:>6}{real['acked']:>9}  "
        + ("; ".join(real["faults"][:2]) or "nothing"),
    ]
    for build, line in score["controls"].items():
        loss = line["loss"] or "nothing: THE CONTROL WAS NOT CAUGHT"
        lines.append(f"{build:18}{line['cuts']:>6}{'':>9}  {loss}")
    return "\n".join(lines)


def main(given=None):
    parser = argparse.ArgumentParser(prog="python -m tests.faults.powercut")
    parser.add_argument("--cuts", type=int, default=50)
    count = parser.parse_args(given).cuts
    place = Path(mkdtemp(prefix="trace-node-powercut-"))
    try:
        real = real_cuts(place, count)
        controls = {}
        for build in cutting.UNSYNCED:
            cuts, loss = cutting.loss_without(place, build)
            controls[build] = {"cuts": cuts, "loss": loss}
    except cutting.NoMount as reason:
        print(f"left out: {reason}")
        write_score("powercut", {"sound": None, "left out": str(reason)})
        return 0
    finally:
        shutil.rmtree(place, ignore_errors=True)
        story.drop_templates()
    sound = not real["faults"] and all(line["loss"] for line in controls.values())
    total = {name: real[name] for name in ("cuts", "acked", "lost")}
    score = {"sound": sound, "total": total, "real": real, "controls": controls}
    write_score("powercut", score)
    print(table(score))
    return 0 if sound else 1


if __name__ == "__main__":
    sys.exit(main())
