"""The cluster that must fork: the same center, kill and checks, no synchronous standby.

The standby is kept from hearing the primary's last seconds (its senders are
stopped, as a slow network would do), then the primary's machine dies for good.
What was acknowledged meanwhile is nowhere else. The center's own guard, the head
that each worker keeps outside the database, must notice and refuse to sign; a
worker that has no memory of those heads cannot notice, and forks the log.
"""

import json
import signal
import time
import urllib.error
import urllib.request
from dataclasses import asdict

from tests.failover.campaign import CALM, Life
from tests.failover.faults import lead_passes, say

STALL = 2.0
REFUSAL = 30.0  # for the workers to find out what is missing


def control(folder, seed):
    """Return the figures of the asynchronous cluster."""
    with Life(folder, "asynchronous", seed + 1, synchronous=False) as life:
        cluster, traffic, center = life.cluster, life.traffic, life.center
        time.sleep(CALM)
        leader = cluster.leader()
        if not leader.machine.signal(signal.SIGSTOP, named="walsender"):
            raise RuntimeError("no sender was found to stop")
        time.sleep(STALL)
        leader.kill()
        lead_passes(cluster, leader)
        say("control: the standby leads, without what it never heard")
        time.sleep(CALM)
        reasons = refusals(center.workers)
        known = traffic.acks()
        guarded = center.judge(traffic)
        forgetful = traffic.open(center.hire().port)
        time.sleep(CALM)
        traffic.stop()
        figures = asdict(center.judge(traffic))
        figures["faults"] = figures["faults"][:5]
        figures["workers"] = len(reasons)
        figures["refusing"] = sum("signed" in reason for reason in reasons)
        figures["reasons"] = reasons
        figures["lost_before_the_forgetful"] = guarded.lost
        figures["forked_before_the_forgetful"] = guarded.forked
        figures["acked_after_the_loss_was_known"] = traffic.acks() - known
        figures["signed_on"] = len(forgetful.acked)
        return figures


def refusals(workers):
    """Return why each worker takes no writes, empty where it does."""
    until = time.monotonic() + REFUSAL
    while True:
        reasons = [reason(worker) for worker in workers]
        if all(reasons) or time.monotonic() > until:
            return reasons
        time.sleep(0.5)


def reason(worker):
    """Return what a worker's readiness says, empty if it is ready."""
    url = f"http://127.0.0.1:{worker.port}/health/ready"
    try:
        with urllib.request.urlopen(url, timeout=15):
            return ""
    except urllib.error.HTTPError as error:
        with error:
            return json.load(error).get("problem", "not ready")
