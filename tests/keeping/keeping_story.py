"""A center that holds all kinds of content, closed: what a disk may damage."""

import shutil
import sys
from hashlib import sha256
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "unit"))

from center_story import ALICE, LAB, Center, big, event, many, single

from trace_node.config import load
from trace_node.node import Node
from trace_node.store.engine import sqlite_driver

# The node's own library: two in one process take each other's locks away.
sqlite = sqlite_driver()


class Kept:
    """A folder with full tiles, manifests, vault files, staged records, an index."""

    def __init__(self, folder, singles=300):
        center = Center(folder)
        center.add_party(ALICE)
        center.add_party(LAB)
        center.clock.seconds += 5
        self.records = [event(n, bytes([n]) * 16) for n in range(12)]
        self.twice = self.records[0]
        center.put(single(self.twice), [self.twice])
        self.manifest = center.put(many(self.records), self.records).index
        self.bigs = [big(n) for n in range(3)]
        for data in self.bigs:
            center.put(single(data, LAB), [data])
        center.clock.seconds += 5
        center.put_all([single(b"%d" % n, LAB) for n in range(singles)])
        center.clock.seconds += 5
        center.revoke(ALICE)
        self.staged = [event(100, b"s" * 16), big(100)]
        for data in self.staged:
            center.node.vault.stage(sha256(data).digest(), data, center.clock())
        self.size = center.put(single(b"last", LAB)).index + 1
        self.vkey, self.origin, self.folder = center.node.vkey, center.origin, folder
        self.clock = center.clock
        while center.node.follower.step():
            pass
        center.close()
        for name in ("center.db", "index.db"):  # one file each
            connection = sqlite.connect(folder / name)
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            connection.close()

    def copy(self, folder):
        shutil.copytree(self.folder, folder)
        return folder


def opened(folder, clock=None):
    return Node(folder, load(folder), clock=clock)


def rows(path, sql, *values):
    connection = sqlite.connect(path)
    try:
        found = connection.execute(sql, values).fetchall()
        connection.commit()
        return found
    finally:
        connection.close()


def vault_name(data):
    name = sha256(data).hexdigest()
    return f"vault/{name[:2]}/{name[2:4]}/{name}"
