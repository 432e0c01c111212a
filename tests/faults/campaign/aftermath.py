"""What must hold when a round is over, whatever was done in it.

Two verdicts. ``whole``: nothing is missing and everything is as it was told.
``no_fork``: the center's own copy may be damaged, older or gone; then nothing may
have been signed or served that contradicts what was told before.
"""

import shutil
from pathlib import Path

from tests.faults import story
from tests.faults.campaign.past import PAST
from tests.faults.checks import (
    Tree,
    ack_faults,
    head_faults,
    kept_heads,
    log_faults,
    read_center,
    replay_faults,
)
from trace_node.ledger.receipt import verify_receipt
from trace_node.ledger.tiles import TILE_WIDTH
from trace_node.node import Node
from trace_node.trust.merkle import leaf_hash


def whole(world):
    """Faults of a center that must have survived; looks at a copy of its folder."""
    copy = world.place / "look"
    shutil.rmtree(copy, ignore_errors=True)
    story.copy_center(world.folder, copy)
    try:
        node = Node(copy, story.settings())
    except Exception as error:
        return [f"the center does not open: {type(error).__name__}: {error}"]
    try:
        stored = read_center(copy, node.vkey)
        world.notes["entries"] = len(stored.entries)
        return [
            *log_faults(stored),
            *recovery_faults(node),
            *ack_faults(
                stored,
                world.memory.acks,
                PAST.receipt_key,
                again=node.receipts.receipt,
            ),
            *replay_faults(stored, story.ORIGIN),
            *seen_faults(stored.tree, world.memory),
            *kept_faults(stored, world.memory),
            *held_faults(node, world.memory),
            *tile_faults(node, stored),
        ]
    except Exception as error:  # what cannot be read is lost
        return [f"the center cannot be read: {type(error).__name__}: {error}"]
    finally:
        node.close()
        shutil.rmtree(copy)


def recovery_faults(node):
    node.intake.recover()
    reason = node.health.reason()
    return [f"it does not recover: {reason}"] if reason else []


def seen_faults(tree, memory):
    """Checkpoints that any client ever saw, all of them on one tree."""
    return head_faults(tree, memory.notes)


def kept_faults(stored, memory):
    greatest = max((index for _, index, _ in memory.acks), default=-1)
    if max((kept.size for kept in stored.kept), default=0) <= greatest:
        return ["an acknowledged entry is not under the kept head"]
    return []


def held_faults(node, memory):
    faults = []
    for digest, data in memory.held.items():
        try:
            if node.vault.read(digest) != data:
                faults.append("a record that was taken has other bytes")
        except Exception as error:
            faults.append(f"a record that was taken: {type(error).__name__}: {error}")
    return faults


def tile_faults(node, stored):
    """Full tiles of level 0, compared with leaves that we hash."""
    faults = []
    for at in range(len(stored.entries) // TILE_WIDTH):
        entries = stored.entries[at * TILE_WIDTH : (at + 1) * TILE_WIDTH]
        if node.tiles.read(0, at) != b"".join(leaf_hash(entry[4]) for entry in entries):
            faults.append(f"tile {at} is not of its entries")
    return faults


def truth(world):
    """The center as it is before it is damaged, with all that it has signed."""
    copy = world.copy("truth")
    node = Node(copy, story.settings())
    try:
        node.intake.recover()
        return read_center(copy, node.vkey)
    finally:
        node.close()
        shutil.rmtree(copy)


def no_fork(world, before):
    """Faults of a center whose folder was damaged after ``before`` was read.

    Args:
        world: the round.
        before: the center before the damage (``truth``).
    """
    memory = world.memory
    tree, added = extended(world.folder, before)
    heads = [*memory.notes, *kept_roots(world.folder, PAST.vkey)]
    faults = [
        f"a head of size {size} contradicts what was signed before"
        for size, root in heads
        if size <= before.tree.size and before.tree.roots[size] != root
    ]
    faults += head_faults(tree, [head for head in heads if head[0] > before.tree.size])
    entries = [entry[4] for entry in before.entries] + added
    for identity, index, receipt in memory.acks:
        if index >= len(entries) or story.identity_of(entries[index]) != identity:
            faults.append(f"entry {index} was acknowledged for something else")
            continue
        try:
            verify_receipt(receipt, entries[index], PAST.receipt_key)
        except Exception as error:
            faults.append(f"the receipt of {index}: {type(error).__name__}")
    return faults


def extended(folder, before):
    """Return the tree of what was before, and what the center has added since."""
    tree = Tree()
    for entry in before.entries:
        tree.append(entry[4])
    try:
        rows = read_center(folder, PAST.vkey).entries
    except Exception:  # it cannot be read: then nothing may be signed on it
        return tree, []
    added = [entry[4] for entry in rows if entry[0] >= before.tree.size]
    for raw in added:
        tree.append(raw)
    return tree, added


def kept_roots(folder, vkey):
    paths = Path(folder).glob("head*")
    return [(h.size, h.root) for path in paths for h, _ in kept_heads(path, vkey)]


def nothing_signed(world, since):
    """Faults if anything was acknowledged after ``since`` acks were in."""
    count = len(world.memory.acks) - since
    return (
        [f"{count} were acknowledged by a center that must not sign"] if count else []
    )


def ends_plainly(world, *, since=0):
    """Faults if a server that would not start ended otherwise than with a reason."""
    said = world.journal()[since:]
    if "Traceback" in said:
        return [f"it ended with a traceback: {said[-200:]}"]
    return [] if said.strip() else ["it ended without a reason"]
