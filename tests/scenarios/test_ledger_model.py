"""A real center driven by chance beside a model of it in plain Python.

Two nodes share one folder; groups of statements go to either, time moves both
ways, processes die at every step of a commit and start again. The model says
what each statement becomes; after every step the folder is read and checked from
outside. TRACE_NODE_CAMPAIGN=1 runs 2,000 random stories, a larger number that many.
"""

import os
import shutil
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from tempfile import mkdtemp

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from tests.faults import story
from tests.faults.checks import (
    ack_faults,
    head_faults,
    log_faults,
    read_center,
    replay,
    replay_faults,
)
from tests.faults.crashing import STEPS, Crash, Injector
from tests.faults.story import ORIGIN, Clock, signer
from trace_node.errors import ReadOnly, TraceNodeError
from trace_node.ledger.checkpoint import open_checkpoint
from trace_node.ledger.sequencer import Placed
from trace_node.node import Node
from trace_node.trust.base64url import encode as base64url
from trace_node.trust.did import did_key
from trace_node.trust.keys import ES256, ESP256
from trace_node.trust.statement import decode_statement

CAMPAIGN = int(os.environ.get("TRACE_NODE_CAMPAIGN", "0"))
PARTIES, KEYS = 3, 3  # every party may have this many keys
CURVES = ("Ed25519", "P-256", "P-256")
SIGNERS = [signer(n, CURVES[n % KEYS]) for n in range(PARTIES * KEYS)]
DIDS = [did_key(SIGNERS[n * KEYS].public) for n in range(PARTIES)]


@dataclass
class Item:
    """A statement that a client may send, and what the model knows of it."""

    raw: bytes
    kid: bytes
    did: str
    records: tuple = ()
    effect: tuple = ()  # ("party", did) | ("add", kid, did) | ("revoke", kid, did)
    fault: str = ""
    identity: bytes = b""

    def __post_init__(self):
        self.identity = decode_statement(self.raw).identity


@dataclass
class Model:
    """The log as it must be: governance by dictionaries, entries by identity."""

    operator: str
    entries: list = field(default_factory=list)
    index: dict = field(default_factory=dict)
    parties: set = field(default_factory=set)
    keys: dict = field(default_factory=dict)  # kid -> [did, active]
    tick: int = 0

    def copy(self):
        keys = {kid: list(state) for kid, state in self.keys.items()}
        return Model(
            self.operator,
            list(self.entries),
            dict(self.index),
            set(self.parties),
            keys,
            self.tick,
        )

    def group(self, items, now):
        """Return the model after a group, and the index or "refused" of each."""
        after, outcomes, entered = self.copy(), [], False
        for item in items:
            # Signatures are checked before the group gets its turn, so a key
            # that the group itself adds cannot sign in it.
            if item.fault or item.kid not in self.keys:
                outcomes.append("refused")
            elif item.identity in after.index:
                outcomes.append(after.index[item.identity])
            elif not after.allows(item):
                outcomes.append("refused")
            else:
                if not entered and now > after.tick:
                    after.tick = now
                    after.entries.append(None)
                entered = True
                outcomes.append(after.enter(item))
        return after, outcomes

    def allows(self, item):
        did, active = self.keys[item.kid]
        if not active or did != item.did:
            return False
        match item.effect:
            case ("party", _):
                return did == self.operator
            case ("add", kid, owner):
                return owner in self.parties and kid not in self.keys
            case ("revoke", kid, owner):
                return self.keys.get(kid) == [owner, True]
        return did != self.operator

    def enter(self, item):
        self.index[item.identity] = len(self.entries)
        self.entries.append(item.identity)
        match item.effect:
            case ("party", did):
                self.parties.add(did)
            case ("add", kid, owner):
                self.keys[kid] = [owner, True]
            case ("revoke", kid, _):
                self.keys[kid][1] = False
        return self.index[item.identity]


KINDS = [  # what is sent often stands here often
    *("new", "new", "absent", "manifest", "again", "again", "twin", "complete"),
    *("party", "add", "add", "revoke", "leave", "forged", "odd-key", "many"),
]
SPEC = st.tuples(
    st.sampled_from(KINDS),
    st.integers(0, len(SIGNERS) - 1),
    st.integers(0, 1 << 16),
)
WHERE = st.integers(0, 1)
FAIL = st.sampled_from([step for step in STEPS if "torn" not in step])
CRASH = st.tuples(st.sampled_from(STEPS), st.floats(0, 1, exclude_max=True))


class LedgerMachine(RuleBasedStateMachine):
    """Rules are what clients, operators and power supplies do."""

    engine = "sqlite"

    @initialize()
    def start(self):
        self.base = Path(mkdtemp(prefix="trace-node-model-"))
        self.generation = 0
        self.clock = Clock()
        self.folder = self.base / "0"
        source = story.template("founded", engine=self.engine)
        story.new_center(self.folder, source, engine=self.engine)
        self.injector = Injector()
        self.nodes = []
        self.open()
        node = self.nodes[0]
        stored = read_center(self.folder, node.vkey)
        first = decode_statement(stored.entries[0][4])
        self.model = Model(node.did)
        self.model.entries.append(first.identity)
        self.model.index[first.identity] = 0
        self.model.tick = first.iat
        self.root = node.keys.root
        for key in ("root", "center", "receipt"):
            kid = getattr(node.keys, key).public.thumbprint
            self.model.keys[kid] = [node.did, True]
        self.items = []
        self.records_of = {}  # statement -> the records it is about
        self.number = 0
        self.acks = {}  # identity -> (index, receipt)
        self.verified = 0
        self.content = {}  # identity -> records acknowledged with it
        self.released = set()
        self.seen = -1
        # Something to stand on: two parties with two keys each.
        self.send([self.item("party", k * KEYS, 0) for k in range(2)])
        self.send([self.item("add", k, 0) for k in (0, 1, KEYS, KEYS + 2)])

    def open(self):
        self.nodes = [Node(self.folder, story.settings(self.folder), clock=self.clock)]
        self.injector.install(self.nodes[0])

    def node(self, where):
        """The first process, or another one on the same folder."""
        if where and len(self.nodes) == 1:
            self.nodes.append(
                Node(self.folder, story.settings(self.folder), clock=self.clock)
            )
            self.injector.install(self.nodes[1])
        return self.nodes[where]

    def close(self):
        for node in self.nodes:
            node.close()
        self.nodes = []

    # What may be sent.

    def item(self, kind, who, pick):
        self.number += 1
        known = [
            n for n, by in enumerate(SIGNERS) if by.public.thumbprint in self.model.keys
        ]
        if known and pick % 8 and kind not in {"party", "add"}:
            who = known[who % len(known)]  # strangers are soon refused
        by, did = SIGNERS[who], DIDS[who // KEYS]
        kid = by.public.thumbprint
        if kind in {"again", "twin", "complete"} and self.items:
            return self.repeat(kind, self.items[pick % len(self.items)])
        if kind == "manifest":
            records = [
                story.record(f"record {self.number} {k}") for k in range(1 + pick % 3)
            ]
            raw = self.sign(by, did, records)
            return self.made(Item(raw, kid, did, tuple(records) if pick % 2 else ()))
        if kind == "party":
            return self.say(self.root, "party", story.party_body(did), ("party", did))
        if kind == "add":
            body = story.add_body(did, by.public)
            return self.say(self.root, "key", body, ("add", kid, did))
        if kind == "odd-key":
            # Passes the schema, is no key: Malformed under the lock.
            body = story.add_body(did, by.public) | {"kid": base64url(bytes(32))}
            return self.say(self.root, "key", body, (), fault="odd")
        if kind in {"revoke", "leave"}:
            by = self.root if kind == "revoke" else by
            body = story.revoke_body(did, SIGNERS[who].public)
            return self.say(by, "key", body, ("revoke", kid, did))
        record = story.record(f"record {self.number}")
        raw = self.sign(by, did, [record], single=True)
        if kind == "forged":
            raw = raw[:-64] + self.sign(by, did, [b"other"], single=True)[-64:]
            return Item(raw, kid, did, (record,), fault="forged")
        return self.made(Item(raw, kid, did, () if kind == "absent" else (record,)))

    def sign(self, by, did, records, *, single=False):
        media = story.RECORD_MEDIA if single else story.MANIFEST_MEDIA
        preimage = records[0]
        if not single:
            preimage = story.manifest_preimage([sha256(r).digest() for r in records])
        raw = story.sign_statement(
            by, iss=did, aud=ORIGIN, media=media, preimage=preimage
        )
        self.records_of[raw] = tuple(records)
        return raw

    def say(self, by, kind, body, effect, fault=""):
        iss = self.nodes[0].did if by is self.root else body["did"]
        raw, record = story.governance(by, iss, kind, body, self.number)
        kid = by.public.thumbprint
        return self.made(Item(raw, kid, iss, (record,), effect, fault))

    def repeat(self, kind, item):
        if kind == "twin" and decode_statement(item.raw).alg in {ESP256, ES256}:
            return Item(
                story.twin(item.raw), item.kid, item.did, item.records, item.effect
            )
        if kind == "complete" and item.raw in self.records_of:
            return Item(item.raw, item.kid, item.did, self.records_of[item.raw])
        return item

    def made(self, item):
        self.items.append(item)
        return item

    def expand(self, specs):
        items = []
        for kind, who, pick in specs:
            if kind == "many":
                items += [self.item("new", who, 1) for _ in range(1 + pick % 90)]
            else:
                items.append(self.item(kind, who, pick))
        return items

    # Sending, and what must come of it.

    def send(self, items, where=0, crash=None, fail=None):
        node = self.node(where)
        if crash is not None:
            self.generation += 1
            self.injector.arm(*crash, self.base / str(self.generation))
        if fail is not None:
            self.injector.arm(fail, 0, None)
        after, expected = self.model.group(items, self.clock())
        group = [node.preparer.prepare(item.raw, item.records) for item in items]
        try:
            outcomes = node.intake._process(group)
        except Crash:
            self.crashed(after)
            return
        finally:
            self.injector.step = None
        if self.injector.failed:
            self.injector.failed = False
            assert {type(outcome) for outcome in outcomes} == {ReadOnly}
            self.model = after if self.injector.committed else self.model
            return
        self.model = after
        for item, outcome, wanted in zip(items, outcomes, expected, strict=True):
            self.compare(item, outcome, wanted)

    def compare(self, item, outcome, wanted):
        if wanted == "refused":
            assert isinstance(outcome, TraceNodeError), f"accepted at {outcome}"
            return
        assert isinstance(outcome, Placed), f"refused: {outcome!r}"
        assert outcome.index == wanted
        assert outcome.receipt
        got = (outcome.index, outcome.receipt)
        assert self.acks.setdefault(item.identity, got) == got, "a second receipt"
        if item.records:
            self.content[item.identity] = item.records

    def crashed(self, after):
        injector = self.injector
        if injector.exact:
            committed = injector.committed
        else:
            head = read_center(injector.target, self.nodes[0].vkey).head[0]
            committed = head == len(after.entries)
        if committed:
            self.model = after
        self.close()
        old, self.folder = self.folder, injector.target
        shutil.rmtree(old)
        self.open()

    @rule(specs=st.lists(SPEC, min_size=1, max_size=5), where=WHERE)
    def submit(self, specs, where):
        self.send(self.expand(specs), where)

    @rule(
        specs=st.lists(SPEC, min_size=1, max_size=4),
        where=WHERE,
        crash=CRASH,
        later=st.integers(0, 3),
    )
    def submit_and_crash(self, specs, where, crash, later):
        self.clock.seconds += later
        self.send(self.expand(specs), where, crash)

    @rule(specs=st.lists(SPEC, min_size=1, max_size=4), where=WHERE, fail=FAIL)
    def submit_and_fail(self, specs, where, fail):
        """An I/O error at a step; the process lives on."""
        self.send(self.expand(specs), where, fail=fail)

    @rule(
        who=st.integers(0, len(SIGNERS) - 1),
        first=st.booleans(),
        own=st.booleans(),
        where=WHERE,
    )
    def revocation_races_registration(self, who, first, own, where):
        revoke = self.item("leave" if own else "revoke", who, 1)
        new = self.item("new", who, 1)
        self.send([revoke, new] if first else [new, revoke], where)

    @rule(who=st.integers(0, len(SIGNERS) - 1), own=st.booleans())
    def revocation_in_one_process_registration_in_another(self, who, own):
        prepared = self.node(1)
        new = self.item("new", who, 1)
        prepared.admission.refresh()  # it knows the key, active
        self.send([self.item("leave" if own else "revoke", who, 1)], 0)
        self.send([new], 1)

    @rule(who=st.integers(0, len(SIGNERS) - 1), own=st.booleans(), fail=FAIL)
    def a_revocation_that_fails_takes_effect_with_its_commit_or_not_at_all(
        self, who, own, fail
    ):
        revoke = self.item("leave" if own else "revoke", who, 1)
        self.send([revoke], fail=fail)
        self.send([self.item("new", who, 1)])
        self.send([revoke])

    @rule(pick=st.integers(0, 1 << 16), times=st.integers(2, 4), where=WHERE)
    @precondition(lambda self: self.items)
    def resubmit_inside_one_group(self, pick, times, where):
        item = self.items[pick % len(self.items)]
        kinds = ["again", "twin", "complete", "again"][:times]
        self.send([self.repeat(kind, item) for kind in kinds], where)

    @rule(who=st.integers(0, len(SIGNERS) - 1), first=st.booleans())
    def the_same_new_statement_with_and_without_its_record(self, who, first):
        item = self.item("new", who, 1)
        bare = Item(item.raw, item.kid, item.did)
        self.send([bare, item] if first else [item, bare])

    @rule(pick=st.integers(0, 1 << 16), where=WHERE)
    def content_comes_first(self, pick, where):
        item = self.item("absent", pick % len(SIGNERS), pick)
        (record,) = self.records_of[item.raw]
        digest = sha256(record).digest()
        self.node(where).vault.stage(digest, record, self.clock())
        before = len(self.acks)
        self.send([item], 0)
        if len(self.acks) > before:
            self.content[item.identity] = (record,)

    @rule(seconds=st.sampled_from([1, 1, 2, 5, 3600, -1, -3, -7200]))
    def time_moves(self, seconds):
        self.clock.seconds += seconds

    @rule(where=WHERE)
    def publish(self, where):
        node = self.node(where)
        node.publisher.step()
        if note := node.publisher.note():
            self.released.add(open_checkpoint(note, [node.vkey])[0])

    @rule(where=WHERE, later=st.sampled_from([0, 10, 100_000]))
    def follow_and_tidy(self, where, later):
        node = self.node(where)
        while node.follower.step():
            pass
        node.follower.tidy(self.clock() + later, 86_400)

    @rule(recover=st.booleans())
    def restart(self, recover):
        self.close()
        self.open()
        if recover:
            self.nodes[0].intake.recover()
            assert self.nodes[0].health.reason() == ""

    # What must always hold.

    @invariant()
    def holds(self):
        if not hasattr(self, "model"):
            return
        node = self.nodes[0]
        stored = self.look()
        size = len(stored.entries)
        for each in self.nodes:
            if (kept := each.keeper.snapshot()) is not None:
                self.released.add(kept[0])
        heads = [(head.size, head.root) for head in self.released]
        assert head_faults(stored.tree, heads) == []
        for identity, (index, _) in self.acks.items():
            assert stored.entries[index][3] == identity
        if self.seen == size:
            return
        self.seen = size
        assert log_faults(stored) == []
        digest = replay(stored, ORIGIN).digest()
        for each in self.nodes:
            if each.admission._size == size:
                assert each.admission.state.digest() == digest
        fresh = list(self.acks.items())[self.verified :]
        self.verified = len(self.acks)
        acks = [(identity, *ack) for identity, ack in fresh]
        assert ack_faults(stored, acks, node.keys.receipt.public) == []

    def look(self):
        stored = read_center(self.folder, self.nodes[0].vkey)
        assert len(stored.entries) == len(self.model.entries)
        for entry, identity in zip(stored.entries, self.model.entries, strict=True):
            assert identity in (None, entry[3])
        return stored

    def teardown(self):
        if not hasattr(self, "base"):
            return
        try:
            if self.nodes:
                self.settled()
        finally:
            self.close()
            story.remove_center(self.folder)
            shutil.rmtree(self.base, ignore_errors=True)

    def settled(self):
        """A fresh process finds the same log, receipts, governance and content."""
        self.close()
        self.open()
        node = self.nodes[0]
        node.intake.recover()
        assert node.health.reason() == ""
        stored = self.look()
        acks = [(identity, *ack) for identity, ack in self.acks.items()]
        key = node.keys.receipt.public
        assert ack_faults(stored, acks, key, again=node.receipts.receipt) == []
        assert replay_faults(stored, ORIGIN) == []
        assert node.admission.state.digest() == replay(stored, ORIGIN).digest()
        assert node.keeper.last().size == len(stored.entries)
        for identity, records in self.content.items():
            for record in records:
                assert node.vault.read(sha256(record).digest()) == record
            if len(records) > 1:
                wanted = [sha256(record).digest() for record in records]
                assert node.log.manifest(self.model.index[identity]) == wanted


@pytest.fixture(scope="module", autouse=True)
def _templates():
    yield
    story.drop_templates()


LedgerMachine.TestCase.settings = settings(
    max_examples=(CAMPAIGN if CAMPAIGN > 1 else 2_000) if CAMPAIGN else 30,
    stateful_step_count=60 if CAMPAIGN else 30,
    deadline=None,
    derandomize=not CAMPAIGN,
    suppress_health_check=list(HealthCheck),
    print_blob=True,
)
TestLedger = LedgerMachine.TestCase


class PostgresLedgerMachine(LedgerMachine):
    """The same on a server: a crash drops the connections and copies the folder."""

    engine = "postgresql"


PostgresLedgerMachine.TestCase.settings = settings(
    LedgerMachine.TestCase.settings,
    max_examples=LedgerMachine.TestCase.settings.max_examples // 2,
)
TestLedgerOnPostgres = PostgresLedgerMachine.TestCase
