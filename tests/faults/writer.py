"""Registers statements as fast as it can; says what it is told to a file elsewhere.

Arguments: the center's folder, the file, the build (``broken.NODES``). A line is
"ack IDENTITY INDEX RECEIPT", "file DIGEST" of a large record whose entry stands,
or "published SIZE".
"""

import os
import sys
from hashlib import sha256
from pathlib import Path

from tests.faults.broken import NODES
from tests.faults.serving import SIGNERS, Work
from tests.faults.story import content, record, settings

LARGE = 17  # groups from one large record to the next
PUBLISHED = 10  # and from one published checkpoint to the next


def main():
    folder, told, build = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
    node = NODES[build](folder, settings())
    work = Work(1)
    number = 0
    with told.open("ab", buffering=0) as file:

        def say(*words):
            os.write(file.fileno(), (" ".join(map(str, words)) + "\n").encode())

        while True:
            number += 1
            raws = [work.make() for _ in range(1 + work.dice.randrange(4))]
            group = [node.preparer.prepare(raw) for raw in raws]
            large = record(f"{number} " + "x" * 70_000) if number % LARGE == 0 else None
            if large:
                statement = content(SIGNERS[0], large)
                group.append(node.preparer.prepare(statement, [large]))
            for candidate, placed in zip(
                group, node.intake._process(group), strict=True
            ):
                receipt = placed.receipt.hex()
                say("ack", candidate.identity.hex(), placed.index, receipt)
            if large:
                say("file", sha256(large).hexdigest())
            if number % PUBLISHED == 0:
                node.publisher.step()
                say("published", node.publisher.size)


if __name__ == "__main__":
    main()
