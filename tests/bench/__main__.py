"""``make bench``: run the benchmarks, print tables, and one JSON object at the end.

python -m tests.bench [--scale 0.1] [single engines overload bulk audit scale fold keeping]
"""

import argparse
import json

from tests.bench import audit, bulk, engines, fold, keeping, overload, scale, single

ALL = {
    "single": single,
    "engines": engines,
    "overload": overload,
    "bulk": bulk,
    "audit": audit,
    "scale": scale,
    "fold": fold,
    "keeping": keeping,
}


def main() -> None:
    parser = argparse.ArgumentParser(prog="make bench")
    parser.add_argument("names", nargs="*", choices=[[], *ALL], default=[])
    parser.add_argument("--scale", type=float, default=1.0, help="part of full size")
    arguments = parser.parse_args()
    results = {}
    for name in arguments.names or ALL:
        print(f"\n{name}: {ALL[name].__doc__.splitlines()[0]}", flush=True)
        results[name] = ALL[name].run(arguments.scale)
        print(ALL[name].table(results[name]), flush=True)
    print("\n" + json.dumps(results, sort_keys=True))


if __name__ == "__main__":
    main()
