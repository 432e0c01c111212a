"""Flip one bit of a center's folder, look at all of it again, and judge."""

import asyncio
import shutil
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

import httpx
from keeping_story import opened, sqlite

from trace_node.api.app import create_app
from trace_node.config import load
from trace_node.errors import TraceNodeError
from trace_node.services.scrub import Subject, scrub_center
from trace_node.store.engine import place_of
from trace_node.store.keys import load_signer
from trace_node.trust.policy import parse_policy

DATABASES = ("center.db", "index.db")


@dataclass(frozen=True)
class Flip:
    """One bit of one file."""

    path: str
    byte: int
    bit: int

    def apply(self, folder):
        path = folder / self.path
        data = bytearray(path.read_bytes())
        data[self.byte] ^= 1 << self.bit
        path.write_bytes(data)


def draw(dice, folder, path):
    """Draw a bit of a file; in the head file mostly where something stands."""
    size = (folder / path).stat().st_size
    byte = dice.randrange(size)
    if path == "head" and dice.random() < 0.8:
        byte = dice.choice((0, 4096)) + dice.randrange(300)
    return Flip(path, byte, dice.randrange(8))


def files_of(folder):
    """Return the files of a center by kind."""
    kinds = {
        "database": ["center.db"],
        "journal": ["center.db-wal"],
        "index": ["index.db"],
        "head": ["head"],
        "settings": ["node.toml", "policy.txt"],
    }
    for kind, pattern in (
        ("tile", "tile/**/*"),
        ("vault", "vault/**/*"),
        ("key", "keys/*"),
    ):
        kinds[kind] = [
            path.relative_to(folder).as_posix()
            for path in sorted(folder.glob(pattern))
            if path.is_file()
        ]
    return kinds


WEIGHTS = {
    "database": 40,
    "journal": 12,
    "index": 16,
    "head": 6,
    "tile": 8,
    "vault": 8,
    "key": 6,
    "settings": 4,
}


def content(folder):
    """Return what the files mean, apart from bytes that nobody reads."""
    found = {}
    for name in DATABASES:
        try:
            found[name] = dump(folder / name)
        except (sqlite.Error, UnicodeDecodeError) as error:
            found[name] = repr(error)
    keys = folder / "keys"
    secret = (keys / "passphrase").read_bytes().strip()
    for path in sorted(keys.glob("*.pem")):
        found[path.name] = attempt(lambda p=path: load_signer(p, secret).public.cose)
    found["settings"] = attempt(lambda: load(folder).model_dump())
    found["policy"] = attempt(lambda: parse_policy((folder / "policy.txt").read_text()))
    for path in [
        folder / "head",
        *folder.glob("tile/**/*"),
        *folder.glob("vault/**/*"),
    ]:
        if path.is_file():
            found[str(path.relative_to(folder))] = path.read_bytes()
    return found


def attempt(make):
    try:
        return make()
    except (TraceNodeError, ValueError) as error:
        return repr(error)


def dump(path):
    """Return schema and rows of a database, index order included."""
    connection = sqlite.connect(path)
    try:
        tables = connection.execute(
            "SELECT type, name, tbl_name, sql FROM sqlite_master"
        ).fetchall()
        found = {"schema": tables}
        for kind, name, *_ in tables:
            if kind == "table":
                found[name] = connection.execute(f'SELECT * FROM "{name}"').fetchall()
        found["check"] = connection.execute("PRAGMA integrity_check").fetchall()
        return found
    finally:
        connection.close()


def questions(kept):
    """Return the paths of everything that is asked."""
    paths = ["/log/checkpoint", "/.well-known/scitt-keys", "/v1/center"]
    paths += ["/log/tile/0/000", "/log/tile/entries/000"]
    rest = kept.size - 256
    paths += [f"/log/tile/0/001.p/{rest}", f"/log/tile/entries/001.p/{rest}"]
    paths.append("/log/tile/1/000.p/1")
    indices = sorted(
        {*range(24), *range(24, kept.size, 23), kept.size - 2, kept.size - 1}
    )
    for index in indices:
        paths += [f"/entries/1.{index}{what}" for what in ("", "/statement", "/proof")]
    for record in [*kept.records, *kept.bigs, *kept.staged]:
        paths.append(f"/v1/records/{sha256(record).hexdigest()}")
    for record in [*kept.records, *kept.bigs]:
        paths.append(f"/v1/records/{sha256(record).hexdigest()}?format=bundle")
    return paths


def answers(folder, paths, clock):
    """Start the center and ask; an exception that reaches us is a defect."""
    node = opened(folder, clock)
    try:
        node.intake.recover()
        node._background.turn("publisher", node._publish)
        node._background.turn("follower", node._follow)
        return asyncio.run(ask(create_app(node), paths))
    finally:
        node.close()


async def ask(app, paths):
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://x") as client:
        found = {}
        for path in paths:
            answer = await client.get(path)
            found[path] = (answer.status_code, answer.content)
        return found


def scrub(folder):
    """Return what a scrub says, as the command line would find it."""
    try:
        key = parse_policy((folder / "policy.txt").read_text()).logs[0][0]
        try:
            name = load(folder).name
        except TraceNodeError:
            name = None
        report = scrub_center(Subject(place_of(folder), key.name, key, name), workers=1)
    except (TraceNodeError, UnicodeDecodeError, IndexError) as error:
        return [f"{type(error).__name__}: {error}"]
    return [f"{f.kind} {f.where}: {f.message}" for f in report.findings.kept]


@dataclass
class Outcome:
    """What became of a flip."""

    flip: Flip
    found: list
    refused: list = field(default_factory=list)
    wrong: list = field(default_factory=list)
    effect: bool = True

    @property
    def word(self):
        if self.wrong:
            return "SERVED"
        if self.found:
            return "found"
        if self.refused:
            return "refused"
        return "UNSEEN" if self.effect else "no effect"

    @property
    def good(self):
        """Found or refused, or a bit that means nothing; and nothing wrong served."""
        return not self.wrong and bool(self.found or self.refused or not self.effect)


def judge(flip, source, place, before, meaning, paths, clock):
    """Flip a bit of a copy of ``source``; see whether it is found, and served.

    A bit that leaves what the files mean as it was (free room in a page) is not
    looked at further.
    """
    shutil.copytree(source, place)
    try:
        flip.apply(place)
        probe = place.with_name("probe")
        shutil.copytree(place, probe)
        effect = content(probe) != meaning
        shutil.rmtree(probe)
        if not effect:
            return Outcome(flip, [], effect=False)
        outcome = Outcome(flip, scrub(place))
        try:
            after = answers(place, paths, clock)
        except TraceNodeError as error:
            outcome.refused.append(f"start: {type(error).__name__}: {error}")
            return outcome
        for path in paths:
            status, body = after[path]
            if (status, body) == before[path]:
                continue
            if status in (404, 503):
                outcome.refused.append(f"{path}: {status}")
            else:
                outcome.wrong.append(f"{path}: {status} {body[:200]!r}")
        return outcome
    finally:
        shutil.rmtree(place)


def draw_any(dice, folder):
    """Return (kind, flip), drawn over all kinds of files."""
    kinds = files_of(folder)
    names = list(WEIGHTS)
    kind = dice.choices(names, [WEIGHTS[name] for name in names])[0]
    return kind, draw(dice, folder, dice.choice(kinds[kind]))


def hot_copy(kept, folder):
    """Return a copy of a center in use: its last commits are in the journal."""
    kept.copy(folder.with_name("cold"))
    node = opened(folder.with_name("cold"), kept.clock)
    try:
        node.say(
            "party", {"did": "did:web:late.example", "name": "Late", "kind": "service"}
        )
        node._publish()
        node._follow()
        shutil.copytree(
            folder.with_name("cold"), folder, ignore=shutil.ignore_patterns("*-shm")
        )
    finally:
        node.close()
    return Path(folder)
