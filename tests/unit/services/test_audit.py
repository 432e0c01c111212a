"""Audits: whatever is tampered with at rest is found, and the place is named."""

import shutil
import sqlite3
import sys
from hashlib import sha256
from pathlib import Path

import orjson
import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))

from center_story import ALICE, LAB, Center, big, event, flipped, many, single

from trace_node.cli import run
from trace_node.errors import Misuse
from trace_node.ledger.checkpoint import sign_checkpoint
from trace_node.ledger.merkle import CompactRange, grow
from trace_node.ledger.receipt import sign_root
from trace_node.services import audit as audits
from trace_node.services.audit import audit_center
from trace_node.services.founding import timestamp
from trace_node.store.engine import place_of
from trace_node.trust.merkle import leaf_hash
from trace_node.trust.statement import TICK_MEDIA, decode_statement, sign_statement
from trace_node.trust.tick import tick_preimage
from trace_node.verify import report
from trace_node.verify.verdict import timestamp as verified_timestamp


class Story:
    """A center with a full tile, a manifest and a vault file, closed."""

    def __init__(self, folder):
        center = Center(folder)
        center.add_party(ALICE)
        center.add_party(LAB)
        center.clock.seconds += 5
        self.record = event(1)
        self.single = center.put(single(self.record), [self.record]).index
        records = [event(2), event(3)]
        self.manifest = center.put(many(records), records).index
        self.big = big(1)
        center.put(single(self.big), [self.big])
        center.clock.seconds += 5
        center.put_all([single(b"%d" % n, LAB) for n in range(260)])
        self.last = center.put(single(b"last")).index
        self.revoked = center.revoke(ALICE)
        self.vkey, self.policy = center.node.vkey, center.policy
        self.origin, self.folder = center.origin, folder
        self.keys = center.node.keys
        self.did = center.node.did
        center.close()


@pytest.fixture(scope="module")
def story(tmp_path_factory):
    return Story(tmp_path_factory.mktemp("audit") / "center")


@pytest.fixture
def copy(story, tmp_path):
    """Return a folder that the test may damage."""
    return Path(shutil.copytree(story.folder, tmp_path / "copy"))


def check(story, folder, **more):
    return audit_center(place_of(folder), story.origin, story.vkey, workers=1, **more)


def damage(folder, sql, *values):
    connection = sqlite3.connect(folder / "center.db")
    connection.execute(sql, values)
    connection.commit()
    connection.close()


def rows(folder, sql, *values):
    connection = sqlite3.connect(folder / "center.db")
    found = connection.execute(sql, values).fetchall()
    connection.close()
    return found


def finds(story, folder, kind, where):
    found = check(story, folder)
    assert not found.ok
    pairs = [(f.kind, f.where.split(",")[0]) for f in found.findings.kept]
    assert (kind, where) in pairs, pairs
    return found


def statement(folder, index):
    return rows(folder, "SELECT statement FROM entry WHERE entry_index=?", index)[0][0]


def test_a_sound_center_holds(story):
    steps = []
    found = check(story, story.folder, progress=lambda *step: steps.append(step))
    assert found.ok
    assert found.findings.kept == []
    assert found.size == story.revoked + 1
    assert found.counts["entries"] == found.size
    assert found.counts["manifests"] == 1
    assert found.counts["vault files"] == 1
    assert found.counts["tiles"] == 1
    assert found.counts["governance"] == 6
    assert steps[-1][0] == steps[-1][1]
    assert orjson.dumps(found.members())
    assert timestamp(5) == verified_timestamp(5)


def test_processes_and_many_stretches_say_the_same(story, monkeypatch):
    whole = check(story, story.folder)
    monkeypatch.setattr(audits, "STRETCH", 256)
    for workers in (1, 2):
        found = audit_center(
            place_of(story.folder), story.origin, story.vkey, workers=workers
        )
        assert found.ok
        assert (found.root, found.counts) == (whole.root, whole.counts)


@pytest.mark.parametrize("at", [-1, 10, 60, 200])
def test_a_flipped_statement_byte(story, copy, at):
    raw = statement(copy, story.single)
    damage(
        copy,
        "UPDATE entry SET statement=? WHERE entry_index=?",
        flipped(raw, at),
        story.single,
    )
    found = check(story, copy)
    assert found.findings.kept[0].where.startswith(f"entry {story.single}")
    assert {"root", "head", "tile"} <= {f.kind for f in found.findings.kept}


def test_a_flipped_kind(story, copy):
    damage(copy, "UPDATE entry SET kind=0 WHERE entry_index=?", story.revoked)
    finds(story, copy, "kind", f"entry {story.revoked}")


def test_content_called_governance(story, copy):
    damage(copy, "UPDATE entry SET kind=3 WHERE entry_index=?", story.single)
    finds(story, copy, "kind", f"entry {story.single}")


def test_a_changed_record_time_and_identity(story, copy):
    damage(
        copy, "UPDATE entry SET recorded=recorded+1 WHERE entry_index=?", story.single
    )
    damage(
        copy, "UPDATE entry SET identity=? WHERE entry_index=?", bytes(32), story.last
    )
    found = finds(story, copy, "recorded", f"entry {story.single}")
    assert [f.kind for f in found.findings.kept] == ["recorded", "identity"]


def test_a_deleted_entry(story, copy):
    damage(copy, "DELETE FROM entry WHERE entry_index=?", story.single)
    finds(story, copy, "entry", f"entry {story.single}")


def test_the_last_entries_deleted(story, copy):
    damage(copy, "DELETE FROM entry WHERE entry_index>=?", story.last)
    finds(story, copy, "entry", f"entry {story.last}")


def test_swapped_entries(story, copy):
    a, b = story.single, story.single + 1
    damage(copy, "UPDATE entry SET entry_index=-1 WHERE entry_index=?", a)
    damage(copy, "UPDATE entry SET entry_index=? WHERE entry_index=?", a, b)
    damage(copy, "UPDATE entry SET entry_index=? WHERE entry_index=-1", b)
    finds(story, copy, "root", "log_head")


def test_a_doubled_statement(story, copy):
    damage(copy, "DROP INDEX uq_entry_log_identity")
    ((kind, recorded, identity, raw),) = rows(
        copy,
        "SELECT kind,recorded,identity,statement FROM entry WHERE entry_index=?",
        story.last,
    )
    damage(
        copy,
        "UPDATE entry SET kind=?,recorded=?,identity=?,statement=? WHERE entry_index=?",
        kind,
        recorded,
        identity,
        raw,
        story.last - 1,
    )
    finds(story, copy, "identity", f"identity {identity[:16].hex()}…")


def test_an_altered_head_root(story, copy):
    size = story.single + 1
    damage(copy, "UPDATE head SET root=? WHERE size=?", bytes(32), size)
    finds(story, copy, "head", f"head {size}")


def test_an_altered_receipt_signature(story, copy):
    size = story.single + 1
    damage(copy, "UPDATE head SET receipt_signature=? WHERE size=?", bytes(64), size)
    finds(story, copy, "head", f"head {size}")
    damage(copy, "UPDATE head SET receipt_protected=? WHERE size=?", b"x", size)
    finds(story, copy, "head", f"head {size}")


def test_a_deleted_head_and_head_row(story, copy):
    damage(copy, "DELETE FROM head WHERE size=?", story.single + 1)
    finds(story, copy, "head", "heads")
    damage(copy, "UPDATE log_head SET frontier=?", bytes(64))
    finds(story, copy, "root", "log_head")


def test_an_altered_manifest(story, copy):
    ((digests,),) = rows(copy, "SELECT digests FROM manifest")
    damage(copy, "UPDATE manifest SET digests=?", flipped(digests, 40))
    finds(story, copy, "manifest", f"entry {story.manifest}")
    damage(copy, "UPDATE manifest SET digests=?", digests[:-1])
    finds(story, copy, "manifest", f"entry {story.manifest}")
    damage(copy, "UPDATE manifest SET digests=?, entry_index=?", digests, story.single)
    finds(story, copy, "manifest", f"entry {story.single}")


def test_an_altered_record(story, copy):
    digest = sha256(story.record).digest()
    bad = flipped(story.record, 20)
    damage(copy, "UPDATE record SET content=? WHERE digest=?", bad, digest)
    finds(story, copy, "record", f"record {digest.hex()}")
    damage(copy, "UPDATE record SET content=? WHERE digest=?", story.record, digest)
    damage(copy, "UPDATE record SET size=size+1 WHERE digest=?", digest)
    finds(story, copy, "record", f"record {digest.hex()}")


def test_an_altered_governance_record(story, copy):
    raw = statement(copy, 1)
    digest = decode_statement(raw).payload
    damage(copy, "DELETE FROM record WHERE digest=?", digest)
    finds(story, copy, "governance", "entry 1")


def test_an_altered_vault_file(story, copy):
    (file,) = (p for p in (copy / "vault").rglob("*") if p.is_file())
    data = file.read_bytes()
    place = file.relative_to(copy).as_posix()
    file.write_bytes(flipped(data, 99))
    finds(story, copy, "record", place)
    file.unlink()
    finds(story, copy, "record", place)


def test_an_altered_tile(story, copy):
    file = copy / "tile/0/000"
    data = file.read_bytes()
    file.write_bytes(flipped(data, 7))
    finds(story, copy, "tile", "tile/0/000")
    file.write_bytes(data[:-1])
    finds(story, copy, "tile", "tile/0/000")
    file.unlink()  # made again from the entries, so nothing is lost
    assert check(story, copy).ok


def test_the_kept_head(story, copy):
    head = copy / "head"
    data = head.read_bytes()
    head.unlink()
    finds(story, copy, "kept-head", "head")
    assert not head.exists()
    head.write_bytes(b"x" * len(data))
    finds(story, copy, "kept-head", "head")
    size = story.revoked + 1
    for number, root in ((size + 1, bytes(32)), (size, bytes(32))):
        note = sign_checkpoint(story.origin, number, root, story.keys.log)
        head.write_bytes(note.ljust(4096, b"\0") * 2)
        finds(story, copy, "kept-head", f"head of {number}")


def test_another_key_or_log(story, copy):
    other = type(story.vkey)(story.origin, 1, LAB.public.x)
    found = audit_center(place_of(copy), story.origin, other, workers=1)
    assert {"kept-head", "key"} <= {f.kind for f in found.findings.kept}
    found = audit_center(place_of(copy), "x.example/log", story.vkey, workers=1)
    assert found.findings.kept[0].kind == "origin"


class Forger:
    """Appends to a database with all the center's keys, but past its rules."""

    def __init__(self, story, folder):
        self.story, self.folder = story, folder

    def append(self, raw, kind, recorded=None):
        said = decode_statement(raw)
        ((size, epoch, frontier),) = rows(
            self.folder, "SELECT size,epoch,frontier FROM log_head"
        )
        nodes = tuple(frontier[i : i + 32] for i in range(0, len(frontier), 32))
        grown = grow(CompactRange(size, nodes), [leaf_hash(raw)])
        if recorded is None:
            ((recorded,),) = rows(self.folder, "SELECT max(recorded) FROM entry")
        ((protected,),) = rows(
            self.folder, "SELECT receipt_protected FROM head LIMIT 1"
        )
        damage(
            self.folder,
            "INSERT INTO entry(log,entry_index,kind,recorded,identity,statement) VALUES(1,?,?,?,?,?)",
            size,
            kind,
            recorded,
            said.identity,
            raw,
        )
        damage(
            self.folder,
            "INSERT INTO head(log,size,root,receipt_protected,receipt_signature) VALUES(1,?,?,?,?)",
            size + 1,
            grown.root,
            protected,
            sign_root(self.story.keys.receipt, protected, grown.root),
        )
        damage(
            self.folder,
            "UPDATE log_head SET size=?, epoch=?, frontier=?",
            size + 1,
            epoch + 1,
            b"".join(grown.frontier.nodes),
        )
        note = sign_checkpoint(
            self.story.origin, size + 1, grown.root, self.story.keys.log
        )
        (self.folder / "head").write_bytes(note.ljust(8192, b"\0"))
        return size


def test_forged_entries_are_found_though_tree_and_heads_fit(story, copy):
    forger = Forger(story, copy)
    assert check(story, copy).ok
    index = forger.append(single(b"honest", LAB), 0)
    assert check(story, copy).ok  # the forger's tree is right: what follows is not
    for raw in (
        single(b"revoked", ALICE),
        single(b"unknown", type(LAB).from_seed("Ed25519", b"\5" * 32)),
        single(b"other log", LAB, aud="x.example/log"),
        single(b"wrong use", story.keys.center),
    ):
        index = forger.append(raw, 0)
        finds(story, copy, "entitlement", f"entry {index}")
    index = forger.append(flipped(single(b"bad signature", LAB), -1), 0)
    found = finds(story, copy, "signature", f"entry {index}")
    assert {f.kind for f in found.findings.kept} == {"entitlement", "signature"}


def test_ticks_that_go_back(story, copy):
    raw = sign_statement(
        story.keys.center,
        iss=story.did,
        aud=story.origin,
        media=TICK_MEDIA,
        preimage=tick_preimage(5),
        iat=5,
    )
    index = Forger(story, copy).append(raw, 2, 5)
    finds(story, copy, "tick", f"entry {index}")


def test_findings_stay_few(story, copy):
    damage(copy, "UPDATE entry SET kind=1")
    found = check(story, copy)
    assert len(found.findings.kept) == report.MAX_FINDINGS
    assert found.findings.dropped > 100


def test_no_center_and_no_database(story, tmp_path, copy):
    with pytest.raises(Misuse):
        check(story, tmp_path)
    (copy / "center.db").write_bytes(b"no database at all" * 1000)
    assert run(["audit", str(copy)]) == 1


def test_a_running_center_is_audited(tmp_path):
    center = Center(tmp_path / "c")
    center.add_party(ALICE)
    center.put(single(b"1"))
    assert audit_center(place_of(center.folder), center.origin, center.node.vkey).ok
    center.put(single(b"2"))
    assert audit_center(place_of(center.folder), center.origin, center.node.vkey).ok
    center.close()


def test_the_command(story, copy, capsys):
    assert run(["audit", str(copy), "--json"]) == 0
    members = orjson.loads(capsys.readouterr().out)
    assert members["holds"]
    assert "folder itself" in members["notes"][0]
    policy = ["--policy", str(story.folder / "policy.txt")]
    assert run(["audit", str(copy), *policy]) == 0
    damage(copy, "UPDATE entry SET kind=1 WHERE entry_index=5")
    assert run(["audit", str(copy), *policy]) == 1
    assert "WRONG" in capsys.readouterr().out
    assert run(["audit", str(copy / "none")]) == 2
