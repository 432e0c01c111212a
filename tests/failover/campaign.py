"""One life of a cluster: faults one after another under load, and the reckoning."""

import time
from dataclasses import asdict

from tests.failover.center import WORKERS, Center
from tests.failover.faults import FAULTS, say
from tests.failover.topology import Cluster
from tests.faults.traffic import Traffic

CALM = 4.0  # seconds of plain load before a fault and after it
WHOLE = 120.0  # for the cluster to heal
STATUSES = {201, 503}


class BrokenError(Exception):
    """Something that had to hold did not."""


class Life:
    """A cluster, a center on it, and its clients; a context that ends them all."""

    def __init__(self, folder, name, seed, *, synchronous=True, installed=""):
        self.folder = folder / name
        self.folder.mkdir(mode=0o711)
        self.seed = seed
        self.synchronous = synchronous
        self.installed = installed
        self.rows = []

    def __enter__(self):
        self.cluster = Cluster(
            self.folder / "cluster",
            synchronous=self.synchronous,
            installed=self.installed,
        )
        try:
            self.cluster.start()
            leader = self.cluster.leader().name
            say(f"Patroni {self.cluster.version()} is up, {leader} leads")
            accept = "" if self.synchronous else "no-standby"
            self.center = Center(self.cluster, self.folder / "center", accept=accept)
            self.traffic = Traffic(self.seed)
            for _ in range(WORKERS):
                self.traffic.open(self.center.hire().port)
        except BaseException:
            print(self.cluster.last_words())
            raise
        return self

    def __exit__(self, *_):
        if hasattr(self, "traffic"):
            self.traffic.close()
        if hasattr(self, "center"):
            self.center.dismiss()
        self.cluster.dismantle()

    def meet(self, name):
        """Let a fault happen; add its row."""
        cluster, traffic = self.cluster, self.traffic
        time.sleep(CALM)
        before = traffic.acks()
        if not before:
            raise BrokenError(f"nothing is acknowledged: {traffic.statuses()}")
        since = time.monotonic()
        hit = FAULTS[name](cluster, traffic)
        undone = time.monotonic()
        whole = cluster.wait_whole(WHOLE)
        time.sleep(CALM)
        gap, worst = traffic.gap(since, time.monotonic())
        verdict = self.center.judge(traffic)
        row = {
            "fault": name,
            "hit": hit.name,
            "gap": round(gap, 2),
            "gap_worker": round(worst, 2),
            "back": round(whole, 1),
            "lasted": round(undone - since, 1),
            **asdict(verdict),  # of the whole life until now
            "acked": traffic.acks() - before,
            "faults": verdict.faults[:5],
        }
        self.rows.append(row)
        say(
            f"{name}: gap {gap:.1f} s (one worker {worst:.1f} s), whole again after"
            f" {whole:.1f} s, lost {verdict.lost}, forked {verdict.forked}"
        )
        return row

    def reckon(self):
        """End the load; return the figures of the whole life."""
        self.traffic.stop()
        settled = self.center.settled(self.traffic.doors)
        verdict = self.center.judge(self.traffic, last=True)
        doors = self.traffic.doors
        figures = asdict(verdict)
        figures["settled_seconds"] = settled and round(settled, 1)
        figures["statuses"] = {str(k): v for k, v in self.traffic.statuses().items()}
        figures["dropped"] = sum(door.dropped for door in doors)
        figures["slowest_answer"] = round(max(door.slowest for door in doors), 1)
        if settled is None:
            figures["faults"].append("the workers do not publish one head")
        if set(self.traffic.statuses()) - STATUSES:
            figures["faults"].append(f"answers: {figures['statuses']}")
        if figures["dropped"]:
            figures["faults"].append(f"{figures['dropped']} connections were dropped")
        return figures
