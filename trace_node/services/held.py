"""A restored center does not sign until somebody says from where.

A backup is older than the center that was lost. Entries that came after it may
have receipts out in the world, and signing another entry in their place would be
a fork of the log: the one thing that no center recovers from. The folder cannot
know, so a restore leaves ``restored.json`` in it, and while that is there nothing
is signed. Who states that no larger head was ever released takes it away
(``trace-node restore DIR --sign-from-here SIZE``); what was stated stays in the
folder under another name.
"""

from pathlib import Path

import orjson

from trace_node.errors import ReadOnly
from trace_node.store.files import sync_folder, write_file

HOLD = "restored.json"


def hold(folder: Path, size: int, backup_made: str, now: str) -> None:
    """Keep the center in ``folder`` from signing; durable on return."""
    members = {"size": size, "backup_made": backup_made, "restored": now}
    write_file(folder / HOLD, orjson.dumps(members, option=orjson.OPT_INDENT_2))


def is_held(folder: Path) -> bool:
    """Say whether the center in ``folder`` was restored and may not sign."""
    return (folder / HOLD).exists()


def check_held(folder: Path) -> None:
    """Raise where the center must not sign; asked under the head lock.

    Raises:
        ReadOnly: it was restored, and nobody said that it may go on.
    """
    if is_held(folder):
        raise ReadOnly(
            "this center was restored from a backup and signs nothing until the "
            "operator states that no larger head was ever released: "
            "`trace-node restore DIR --sign-from-here SIZE` (docs/operations/backup.md)"
        )


def release(folder: Path, size: int, now: str) -> None:
    """Let the center sign from ``size`` on; what was stated is kept."""
    path = folder / HOLD
    said = orjson.loads(path.read_bytes())
    said |= {"signs_from": size, "stated": now}
    name = f"restored-{size}-{now.replace(':', '')}.json"
    write_file(folder / name, orjson.dumps(said, option=orjson.OPT_INDENT_2))
    path.unlink()
    sync_folder(folder)
