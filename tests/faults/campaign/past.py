"""The center that every round starts from: some history, full tiles, large records."""

from dataclasses import dataclass, field
from hashlib import sha256

from tests.faults import story
from tests.faults.serving import SIGNERS, Work, add_parties
from trace_node.node import now

ENTRIES = 640  # two full tiles and a half


@dataclass
class Past:
    """What was acknowledged before the round began."""

    raws: dict = field(default_factory=dict)
    acks: list = field(default_factory=list)
    held: dict = field(default_factory=dict)
    speaks_of: dict = field(default_factory=dict)  # digest -> identity
    vkey: object = None
    receipt_key: object = None

    def prepare(self, node):
        """Give a new center its history, and remember it."""
        add_parties(node)
        work = Work(0)
        singles = [(work.make(), ()) for _ in range(ENTRIES)]
        for number in range(6):
            data = story.record(f"large {number} " + "x" * 70_000 * (number % 2))
            singles.append((story.content(SIGNERS[0], data), (data,)))
            digest = sha256(data).digest()
            self.held[digest] = data
            self.speaks_of[digest] = story.identity_of(singles[-1][0])
        for start in range(0, len(singles), 100):
            part = singles[start : start + 100]
            group = [node.preparer.prepare(raw, records) for raw, records in part]
            outcomes = node.intake._process(group)
            for (raw, _), outcome in zip(part, outcomes, strict=True):
                identity = story.identity_of(raw)
                self.raws[identity] = raw
                self.acks.append((identity, outcome.index, outcome.receipt))
        node.publisher.step()
        self.vkey, self.receipt_key = node.vkey, node.keys.receipt.public


PAST = Past()


def new_center(folder):
    """Copy the center with a past into ``folder``."""
    source = story.template("campaign", PAST.prepare, clock=now)
    story.copy_center(source, folder)
    return folder
