"""Registers statements as fast as it can; acknowledges each to a file elsewhere.

Arguments: the center's folder, the file of acknowledgements, the build.
"""

import os
import sys
from pathlib import Path

from tests.faults.broken import NODES
from tests.faults.serving import Work
from tests.faults.story import settings


def main():
    folder, acks, build = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
    node = NODES[build](folder, settings())
    work = Work(1)
    with acks.open("ab", buffering=0) as file:
        while True:
            raws = [work.make() for _ in range(1 + work.dice.randrange(4))]
            group = [node.preparer.prepare(raw) for raw in raws]
            for candidate, placed in zip(
                group, node.intake._process(group), strict=True
            ):
                line = f"{candidate.identity.hex()} {placed.index} {placed.receipt.hex()}\n"
                os.write(file.fileno(), line.encode())


if __name__ == "__main__":
    main()
