"""The center on the cluster: its workers' fleet, and the reckoning on all members."""

import time

from tests.faults.fleet import Fleet, judge, read_database

WORKERS = 3
SETTLE_SECONDS = 30.0  # for every worker to publish the last head


class Center(Fleet):
    """A fleet whose database is a cluster."""

    def __init__(self, cluster, folder, *, accept=""):
        self.cluster = cluster
        # Half of how long one statement may hang, twice, before a client is told.
        super().__init__(folder, cluster.url(), accept=accept, seconds=4)

    def read(self, member=None):
        """Return the log as it stands on ``member``, by default the leader."""
        return read_database(
            host=(member or self.cluster.leader()).address,
            user="trace",
            password=self.cluster.secret,
            dbname="trace",
        )

    def judge(self, traffic, *, last=False):
        """Judge the leader's log.

        Args:
            traffic: what clients and watchers kept.
            last: verify every signature, and hold the standbys' logs against it.
        """
        verdict = judge(traffic, self, self.read, signatures=last)
        if last:
            stored = self.read()
            for member in self.cluster.members:
                if self.read(member).entries != stored.entries:
                    verdict.faults.append(f"{member.name} holds another log")
        return verdict

    def settled(self, doors):
        """Wait until every worker has published the head of the whole log.

        Returns the seconds it took; None where it did not happen.
        """
        size = len(self.read().entries)
        began = time.monotonic()
        while time.monotonic() - began < SETTLE_SECONDS:
            last = [door.notes[-1] for door in doors if door.notes]
            sizes = [int(note.split(b"\n")[1]) for note in last]
            if sizes == [size] * len(doors):
                return time.monotonic() - began
            time.sleep(0.2)
        return None
