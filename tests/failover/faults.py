"""What is done to the cluster, one function a fault, each undone at its end.

A fault takes the cluster and returns the member that was hit. While it lasts the
clients go on; ``run`` measures the silence. Every fault ends with the cluster
whole again: what was hit has come back by itself or was started again.
"""

import contextlib
import json
import signal
import time
import urllib.request

PATIENCE = 90.0  # for another member to lead


def lead_passes(cluster, old):
    """Wait until another member than ``old`` leads; return it.

    Raises:
        RuntimeError: none does in time.
    """
    until = time.monotonic() + PATIENCE
    others = [member for member in cluster.members if member is not old]
    while time.monotonic() < until:
        for member in others:
            status = member.status()
            if status and status.get("role") in {"master", "primary"}:
                return member
        time.sleep(0.1)
    raise RuntimeError(f"nobody took over:\n{cluster.last_words()}")


def say(text):
    """Tell whoever waits how far it is."""
    print(time.strftime("%H:%M:%S"), text, flush=True)


def recovered(member):
    """Wait until a member's database server takes writes again."""
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until:
        with contextlib.suppress(RuntimeError):
            if member.psql("SELECT pg_is_in_recovery()") == ["f"]:
                return
        time.sleep(0.02)
    raise RuntimeError(f"{member.name} does not come back")


def server_killed(cluster, _traffic):
    """The database server alone dies; its Patroni lives and starts it again."""
    leader = cluster.leader()
    leader.machine.signal(signal.SIGKILL, named="postgres")
    return leader


def machine_killed(cluster, _traffic):
    """Everything on the primary's machine dies at once; it is started again later."""
    leader = cluster.leader()
    leader.kill()
    lead_passes(cluster, leader)
    time.sleep(3)
    leader.start()
    return leader


def machine_paused(cluster, _traffic):
    """The primary's machine stands still, its connections open, then goes on."""
    leader = cluster.leader()
    leader.machine.signal(signal.SIGSTOP)
    try:
        lead_passes(cluster, leader)
        time.sleep(3)
    finally:
        leader.machine.signal(signal.SIGCONT)
    return leader


def unplugged(cluster, _traffic):
    """The primary is cut off from everything: etcd, its standbys, the workers."""
    leader = cluster.leader()
    leader.machine.unplug()
    try:
        lead_passes(cluster, leader)
        time.sleep(3)
    finally:
        leader.machine.plug()
    return leader


def deaf(cluster, _traffic):
    """The primary is cut off from its peers, but the workers still reach it."""
    leader = cluster.leader()
    others = [member for member in cluster.members if member is not leader]
    for other in others:
        leader.machine.deafen(other.machine)
    try:
        lead_passes(cluster, leader)
        time.sleep(3)
    finally:
        for other in others:
            leader.machine.hear(other.machine)
    return leader


def etcd_killed(cluster, _traffic):
    """The leader among the etcds dies and comes back."""
    member = cluster.etcd_leader()
    member.kill_etcd()
    time.sleep(8)
    member.start_etcd()
    return member


def etcd_gone(cluster, _traffic):
    """All etcds die, for longer than a leader's word lasts, and come back."""
    for member in cluster.members:
        member.kill_etcd()
    time.sleep(25)
    for member in cluster.members:
        member.start_etcd()
    return cluster.members[0]


def standby_killed(cluster, _traffic):
    """The synchronous standby's machine dies and is started again."""
    leader = cluster.leader()
    name = leader.psql(
        "SELECT application_name FROM pg_stat_replication"
        " WHERE sync_state IN ('sync', 'quorum')"
    )[0]
    standby = next(m for m in cluster.members if m.name == name)
    standby.kill()
    time.sleep(15)
    standby.start()
    return standby


def restarted_then_lost(cluster, traffic):
    """A server restarts with commits that no standby has, then its machine dies.

    A commit that waits for a standby is on the primary's disk already. A restart
    forgets the wait: everybody can read the commit then, though it is on one
    machine only. Whoever vouches for it before a standby has it may be wrong a
    moment later. The standbys' receivers stand still meanwhile, as in a network
    that loses packets, and the primary's Patroni is too slow to notice it and to
    forbid a failover.
    """
    leader = cluster.leader()
    leader.machine.signal(signal.SIGSTOP, named="patroni.yml")
    others = [member for member in cluster.members if member is not leader]
    for other in others:
        other.machine.signal(signal.SIGSTOP, named="walreceiver")
    try:
        time.sleep(0.5)  # for commits to wait
        before = traffic.acks()
        leader.machine.signal(signal.SIGKILL, named="walsender")  # all restart
        recovered(leader)
        time.sleep(2.5)  # clients ask again for what was not answered
        vouched = traffic.acks() - before
        leader.kill()
    finally:
        for other in others:
            other.machine.signal(signal.SIGCONT, named="walreceiver")
    if vouched:
        say(f"{vouched} acknowledged while no standby listened")
    lead_passes(cluster, leader)
    time.sleep(3)
    leader.start()
    return leader


def switchover(cluster, _traffic):
    """An operator hands the lead over, as for an upgrade of the primary."""
    leader = cluster.leader()
    request = urllib.request.Request(
        f"http://{leader.address}:8008/switchover",
        json.dumps({"leader": leader.name}).encode(),
        {"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=60):
        pass
    lead_passes(cluster, leader)
    return leader


FAULTS = {
    fault.__name__: fault
    for fault in (
        server_killed,
        machine_killed,
        machine_paused,
        unplugged,
        deaf,
        etcd_killed,
        etcd_gone,
        standby_killed,
        restarted_then_lost,
        switchover,
    )
}
