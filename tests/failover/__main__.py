"""``make failover``: break a cluster of databases under a working center.

Prints a table, writes a scorecard (JSON), and ends with 1 where something that
had to hold did not, the control included: a cluster without a synchronous
standby must lose and fork, or these checks could not see it.
"""

import argparse
import json
import os
import random
import shutil
import sys
import tempfile
from pathlib import Path

from tests.failover import space
from tests.failover.campaign import Life
from tests.failover.control import control
from tests.failover.faults import FAULTS, say
from tests.failover.scorecard import table, verdict
from tests.failover.topology import PACKAGES, missing


def parse(arguments):
    """Return the command line in its parts."""
    parser = argparse.ArgumentParser(prog="make failover", description=__doc__)
    parser.add_argument("--rounds", type=int, default=1, help="of all faults")
    parser.add_argument("--only", default=",".join(FAULTS), help="faults, by name")
    parser.add_argument("--no-control", action="store_true", help="leave it out")
    parser.add_argument(
        "--seed", type=int, default=random.SystemRandom().getrandbits(32)
    )
    parser.add_argument("--patroni", default="", help="an installed one to try")
    parser.add_argument("--keep", action="store_true", help="data and logs, to look at")
    parser.add_argument("--json", type=Path, default=Path("failover.json"))
    return parser.parse_args(arguments)


def outside(options, arguments):
    """Say what is missing, or run inside; nothing is left behind either way."""
    lacking = missing()
    if os.geteuid() or not sys.platform.startswith("linux"):
        print("skipped: namespaces and a user for PostgreSQL need root on Linux")
        return 0
    if lacking:
        print(f"skipped: this machine lacks {', '.join(lacking)}; on Debian:")
        print(f"  apt-get install --no-install-recommends {PACKAGES}")
        print("  (first, so that no cluster of its own is started:")
        print(
            "  echo 'create_main_cluster = false' >> /etc/postgresql-common/createcluster.conf)"
        )
        return 0
    folder = Path(tempfile.mkdtemp(prefix="trace-node-failover-"))
    folder.chmod(0o711)  # the database's user must get through
    try:
        return space.enter(arguments, folder)
    finally:
        if options.keep:
            print(f"kept: {folder}")
        else:
            shutil.rmtree(folder, ignore_errors=True)


def inside(options, folder):
    """Run the campaign; return the exit code."""
    say(f"seed {options.seed}")
    score = {"seed": options.seed, "rows": [], "control": None}
    with Life(folder, "synchronous", options.seed, installed=options.patroni) as life:
        score["patroni"] = life.cluster.version()
        try:
            for _ in range(options.rounds):
                for name in options.only.split(","):
                    life.meet(name)
            score["total"] = life.reckon()
        except BaseException:
            print(life.cluster.last_words())
            raise
        score["rows"] = life.rows
    if not options.no_control:
        score["control"] = control(folder, options.seed)
    reasons = verdict(score)
    score["passed"] = not reasons
    options.json.write_text(json.dumps(score, indent=1) + "\n")
    print(table(score))
    for reason in reasons:
        print("FAILED:", reason)
    return 1 if reasons else 0


def main():
    """Choose the side of the namespaces."""
    options = parse(sys.argv[1:])
    if space.INSIDE not in os.environ:
        return outside(options, sys.argv[1:])
    space.become_init()
    space.lay_network()
    return inside(options, Path(os.environ[space.INSIDE]))


if __name__ == "__main__":
    sys.exit(main())
