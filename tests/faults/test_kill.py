"""Real processes under load: killed, stopped, doubled. Nothing acknowledged is lost.

TRACE_NODE_KILLS sets how many kills (50), TRACE_NODE_SEED makes a run again.
"""

import asyncio
import os
import random
import shutil
import signal
import sys

import pytest

from tests.faults import story
from tests.faults.checks import ack_faults, log_faults, read_center, replay_faults
from tests.faults.serving import (
    ROOT,
    Server,
    Work,
    Zygote,
    add_parties,
    load,
    run_until_killed,
)
from trace_node.node import Node

KILLS = int(os.environ.get("TRACE_NODE_KILLS", "50"))
SEED = int(os.environ.get("TRACE_NODE_SEED", "0")) or random.SystemRandom().randrange(
    1 << 32
)
LOGS = 10  # kills in the life of one center; then its log is replayed whole
BY_COMMAND_LINE = 25  # one kill in so many is of a server started from a shell


@pytest.fixture(scope="module")
def zygote():
    zygote = Zygote()
    yield zygote
    zygote.close()
    story.drop_templates()


def new_center(folder):
    story.copy_center(story.template("served", add_parties), folder)
    return folder


def center_faults(folder, copy, work, *, whole=False):
    """What is wrong with a center after a kill; looks at a copy of its folder."""
    story.copy_center(folder, copy)
    node = Node(copy, story.settings())
    try:
        stored = read_center(copy, node.vkey)
        work.size = len(stored.entries)
        faults = log_faults(stored)
        node.intake.recover()
        faults += [reason] if (reason := node.health.reason()) else []
        key = node.keys.receipt.public
        faults += ack_faults(stored, work.acks, key, again=node.receipts.receipt)
        if whole:
            faults += replay_faults(stored, story.ORIGIN)
        if max((kept.size for kept in stored.kept), default=0) <= max(
            (index for _, index, _ in work.acks), default=-1
        ):
            faults.append("an acknowledged entry is not under the kept head")
        return faults
    finally:
        node.close()
        shutil.rmtree(copy)


def test_killed_at_random_moments_under_load_nothing_acknowledged_is_lost(
    tmp_path, zygote, record_property
):
    print(f"TRACE_NODE_SEED={SEED}")
    dice = random.Random(SEED)
    acked, unanswered, entries = 0, 0, 0
    for kill in range(KILLS):
        if kill % LOGS == 0:
            folder = new_center(tmp_path / f"center {kill}")
            work = Work(dice.randrange(1 << 32))
        plain = kill % BY_COMMAND_LINE == BY_COMMAND_LINE - 1
        before = len(work.acks)
        server = Server(folder, None if plain else zygote)
        try:
            run_until_killed(server, work, dice.uniform(0.05, 0.6))
        finally:
            server.kill()
        assert set(work.statuses) <= {201, 503}, (SEED, kill, work.statuses)
        last = kill % LOGS == LOGS - 1 or kill == KILLS - 1
        # The center itself is left as the kill left it, for the next start.
        faults = center_faults(folder, tmp_path / "copy", work, whole=last)
        assert faults == [], (SEED, kill, faults[:3])
        acked += len(work.acks) - before
        unanswered += len(work.unanswered)
        if last:
            entries += work.size
            shutil.rmtree(folder)
    figures = {"kills": KILLS, "acked": acked, "lost": 0, "entries": entries}
    print(figures, "unanswered at a kill:", unanswered)
    record_property("figures", figures)
    assert acked > 20 * KILLS


def shared(work):
    """A pick that sends what the other server is sent, too, a little later."""
    at = 0

    def pick():
        nonlocal at
        while at >= len(work.sent):
            work.make()
        raw = work.sent[at]
        at += 1
        return work._say(raw)

    return pick


async def party_add(folder, key):
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "trace_node", "party", "add", str(folder)),
        *("--name", "Beside", "--key", str(key), "--json"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        cwd=ROOT,
    )
    out, error = await process.communicate()
    assert process.returncode == 0, error.decode()
    return out


@pytest.fixture(scope="module")
def unlocked():
    """Servers that do not hold their folder: each stands for any other process."""
    zygote = Zygote("unlocked")
    yield zygote
    zygote.close()


def test_two_processes_and_a_command_line_on_one_center_share_one_log(
    tmp_path, unlocked
):
    """Two servers are refused; commands beside one are not, and write as it does."""
    zygote = unlocked
    folder = new_center(tmp_path / "center")
    dice = random.Random(SEED)
    work = Work(dice.randrange(1 << 32))
    servers = [Server(folder, zygote) for _ in range(2)]
    keys = []
    for number in range(2):
        keys.append(tmp_path / f"{number}.jwk")
        jwk = str(story.signer(100 + number).public.jwk()).replace("'", '"')
        keys[-1].write_text(jwk)

    async def run():
        loads = [
            await load(server.port, work, clients=3, pick=shared(work))
            for server in servers
        ]
        adding = [asyncio.create_task(party_add(folder, key)) for key in keys[:1]]
        for turn in range(10):
            server = servers[turn % 2]
            server.signal(signal.SIGSTOP)
            await asyncio.sleep(dice.uniform(0.02, 0.25))
            server.signal(signal.SIGCONT)
            await asyncio.sleep(dice.uniform(0.02, 0.25))
            if turn == 6:
                server.signal(signal.SIGKILL)
                await loads[turn % 2][1].wait()
                servers[turn % 2] = Server(folder, zygote)
                loads[turn % 2] = await load(
                    servers[turn % 2].port, work, clients=3, pick=shared(work)
                )
                adding.append(asyncio.create_task(party_add(folder, keys[1])))
        await asyncio.gather(*adding)
        for living, ended in loads:
            for client in living:
                client.stopping = True
            await asyncio.wait_for(ended.wait(), 30)

    try:
        asyncio.run(run())
    finally:
        for server in servers:
            server.signal(signal.SIGCONT)
            server.kill()
    assert set(work.statuses) <= {201, 503}, work.statuses
    faults = center_faults(folder, tmp_path / "copy", work, whole=True)
    assert faults == [], (SEED, faults[:3])
    identities = [identity for identity, _, _ in work.acks]
    print(
        "acked",
        len(identities),
        "of them by both",
        len(identities) - len(set(identities)),
    )
    assert len(identities) > len(set(identities)) > 100
