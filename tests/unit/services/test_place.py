"""Audit and scrub read a center wherever its bytes are: on a server, too."""

import pytest

from tests import postgres
from tests.faults import story
from tests.faults.checks import MARK
from tests.faults.story import ORIGIN, Story
from trace_node.errors import Misuse, StoreCorrupt
from trace_node.services.audit import audit_center
from trace_node.services.scrub import Subject, scrub_center
from trace_node.store.engine import place_of
from trace_node.store.scan_postgres import translated


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """A center on a server with singles, a manifest and a large record."""
    folder = tmp_path_factory.mktemp("place") / "c"
    told = Story(folder, "postgresql")
    told.register(*[told.single(k) for k in range(300)])
    told.register(told.single(301), records=[story.record("record 301")])
    records = [story.record(f"part {k}") for k in range(5)]
    told.register(story.manifest(told.signer, records), records=records)
    large = story.record("x" * 70_000)
    told.register(story.content(told.signer, large), records=[large])
    while told.node.follower.step():
        pass
    told.node.publisher.step()
    told.node.close()
    yield told
    story.remove_center(folder)
    story.drop_templates()


def place(told):
    url = story.settings(told.folder).database_url.get_secret_value()
    return place_of(told.folder, url)


def damaged(told, change, back):
    """Change a row by the side, audit and scrub, and put it back."""
    name = (told.folder / MARK).read_text()
    postgres.shared().sql(change, name)
    try:
        audit = audit_center(place(told), ORIGIN, told.node.vkey, workers=1)
        subject = Subject(place(told), ORIGIN, told.node.vkey, "Fault")
        return audit, scrub_center(subject, workers=1)
    finally:
        postgres.shared().sql(back, name)


@pytest.mark.parametrize("workers", [1, 2])
def test_a_center_on_a_server_holds(kept, workers):
    report = audit_center(place(kept), ORIGIN, kept.node.vkey, workers=workers)
    assert report.ok, report.findings.kept
    assert report.counts["vault files"] == 1
    assert report.counts["manifests"] == 1
    assert report.size == kept.node.publisher.size


def test_a_scrub_looks_at_the_index_there(kept):
    subject = Subject(place(kept), ORIGIN, kept.node.vkey, "Fault")
    report = scrub_center(subject, workers=1)
    assert report.ok, report.findings.kept
    assert report.counts["index rows"] > 300
    assert report.counts["key files"] == 4
    assert any("its own pages" in note for note in report.notes)


FLIP = "set_byte({0}, 50, get_byte({0}, 50) # 1)"
STATEMENT = (
    f"UPDATE center.entry SET statement = {FLIP.format('statement')}"
    " WHERE entry_index = 7"
)
RECORD = (
    f"UPDATE center.record SET content = {FLIP.format('content')}"
    " WHERE size = (SELECT min(size) FROM center.record)"
)
KIND = "UPDATE center.entry SET kind = {} WHERE entry_index = 9"
DAMAGE = {  # a change, and how it is undone
    "statement": (STATEMENT, STATEMENT),
    "record": (RECORD, RECORD),
    "kind": (KIND.format(1), KIND.format(0)),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_what_changed_on_the_server_is_found(kept, kind):
    audit, scrub = damaged(kept, *DAMAGE[kind])
    assert kind in {finding.kind for finding in audit.findings.kept}
    assert kind in {finding.kind for finding in scrub.findings.kept}


def test_a_row_of_the_index_that_is_gone_is_found_by_the_scrub(kept):
    gone = 'DELETE FROM "index".commitment WHERE entry_index = 12 RETURNING digest'
    name = (kept.folder / MARK).read_text()
    ((digest,),) = postgres.shared().sql(gone, name)
    subject = Subject(place(kept), ORIGIN, kept.node.vkey, "Fault")
    report = scrub_center(subject, workers=1)
    postgres.shared().sql(
        f"INSERT INTO \"index\".commitment VALUES ('\\x{digest.hex()}', 1, 12, 0)",
        name,
    )
    assert [finding.where for finding in report.findings.kept] == ["entry 12"]


def test_no_center_is_told_so(tmp_path):
    with pytest.raises(Misuse, match="no center"):
        place_of(tmp_path).scan()


def test_a_server_that_is_away_is_told_without_its_password(tmp_path):
    url = f"postgresql+psycopg://me:hunter2hunter2@/none?host={tmp_path}"
    away = place_of(tmp_path, url)
    with pytest.raises(StoreCorrupt) as caught:
        away.scan()
    assert "hunter2hunter2" not in f"{caught.value} {away!r}"


def test_questions_are_the_same_in_the_servers_words():
    assert (
        translated(
            "SELECT ifnull(CAST(root AS BLOB), x''), CAST(content AS BLOB) WHERE a = ?"
        )
        == "SELECT coalesce(root, ''::bytea), content WHERE a = %s"
    )
