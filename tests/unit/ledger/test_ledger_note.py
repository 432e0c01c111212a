"""Notes, checkpoints and cosignatures (C2SP signed-note, tlog-checkpoint, -cosignature)."""

from hashlib import sha256

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trace_node.errors import (
    BadSignature,
    LimitExceeded,
    Malformed,
    Misuse,
    TraceNodeError,
    Untrusted,
)
from trace_node.ledger.checkpoint import (
    Checkpoint,
    open_checkpoint,
    parse_checkpoint_text,
    sign_checkpoint,
)
from trace_node.ledger.cosignature import add_signatures, check_quorum, cosign
from trace_node.ledger.note import (
    Note,
    Signature,
    cosigned_message,
    note_bytes,
    parse_note,
    sign_note,
    timestamp_of,
    verify_note,
)
from trace_node.trust.keys import MemorySigner
from trace_node.trust.policy import parse_policy
from trace_node.trust.vkey import COSIGNATURE, ED25519, ML_DSA_44, make_vkey


def signer(name):
    return MemorySigner.from_seed("Ed25519", sha256(name.encode()).digest())


def key(name, alg=ED25519):
    return make_vkey(name, alg, signer(name).public.x)


ORIGIN = "example.com/log"
ROOT = sha256(b"root").digest()
HEAD = sign_checkpoint(ORIGIN, 42, ROOT, signer(ORIGIN))
LOG = key(ORIGIN)
W = [f"w{i}.example" for i in range(3)]


def cosigned(note, *names, at=1_700_000_000):
    text = parse_note(note).text
    return add_signatures(
        note, [cosign(text, n, signer(n), at + i) for i, n in enumerate(names)]
    )


# ---- notes

POEM = (
    "Ognuno sta solo sul cuor della terra\ntrafitto da un raggio di sole:\n\n"
    "ed è subito sera.\n\n"
    "— quasimodo.example/salvatore NnugSzTjtVAewIS+Z/iJhUPeFDkO/5QQ2i5ddnGITLlC+EhfLW9oJKONrMouFSQU0xMcXxj99ihAQwaqP3ZekRwNtIc=\n"
)
SOFA = (
    "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n\n"
    "— example.com/behind-the-sofa Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=\n"
    "— witness.example.com/w1 jWbPPwAAAABkGFDLEZMHwSRaJNiIDoe9DYn/zXcrtPHeolMI5OWXEhZCB9dlrDJsX3b2oyin1nPZqhf5nNo0xUe+mbIUBkBIfZ+qnA==\n"
)


def test_spec_notes_parse():
    poem, head = (parse_note(text.encode()) for text in (POEM, SOFA))
    assert poem.text.endswith("\n\ned è subito sera.\n")
    assert parse_checkpoint_text(head.text).size == 20_852_163
    assert timestamp_of(head.signatures[1]) == 1_679_315_147
    for text in (POEM, SOFA):
        assert note_bytes(parse_note(text.encode())) == text.encode()
    want = "cosignature/v1\ntime 1679315147\n" + head.text
    assert cosigned_message(head.text, 1_679_315_147) == want.encode()


@pytest.mark.parametrize(
    "data",
    [
        b"", b"\n", b"\n\n", b"text\n", b"text\n\n", "— a AAAAAAA=\n".encode(),
        "text\n\n— a AAAAAAA=".encode(), "text\n— a AAAAAAA=\n".encode(),
        "text\n\n— a AAAAAAA=\n\n".encode(), b"text\n\n- a AAAAAAA=\n",
        "text\n\n—a AAAAAAA=\n".encode(), "text\n\n— a  AAAAAAA=\n".encode(),
        "text\n\n— a AAAAAA==\n".encode(), "text\n\n— a AAAAAAB=\n".encode(),
        "text\n\n— a AAAAAAA\n".encode(), "text\n\n— a+b AAAAAAA=\n".encode(),
        "text\n\n— a\u00a0b AAAAAAA=\n".encode(), "text\n\n—  AAAAAAA=\n".encode(),
        "text\n\n— a AAAAAAA= \n".encode(), "te\txt\n\n— a AAAAAAA=\n".encode(),
        "te\rxt\n\n— a AAAAAAA=\n".encode(), "text\0\n\n— a AAAAAAA=\n".encode(),
        b"te\xffxt\n\n\xe2\x80\x94 a AAAAAAA=\n", "text\n\n— a\n".encode(),
    ],
)  # fmt: skip
def test_not_a_note(data):
    with pytest.raises(Malformed):
        parse_note(data)


def test_sixteen_and_more_signatures():
    names = [f"w{i}.example" for i in range(98)]
    note = cosigned(HEAD, *names)
    keys = [LOG, *(key(n, COSIGNATURE) for n in names)]
    _, verified = verify_note(note, keys)
    assert [k.name for k, _ in verified] == [ORIGIN, *names]
    assert len(parse_note(cosigned(note, "one-more.example")).signatures) == 100
    with pytest.raises(LimitExceeded):
        cosigned(note, "one-more.example", "too-many.example")
    line = Signature("a", b"\0" * 4, b"s").line()
    with pytest.raises(LimitExceeded):
        parse_note(f"text\n\n{line * 101}".encode())
    with pytest.raises(LimitExceeded):
        parse_note(b"x" * 65_537)
    with pytest.raises(LimitExceeded):
        add_signatures(HEAD, [Signature("a", b"\0" * 4, b"s" * 60_000)])


def test_who_signed():
    note = cosigned(HEAD, *W)
    assert [k for k, _ in verify_note(note, [LOG])[1]] == [LOG]
    with pytest.raises(Untrusted):
        verify_note(note, [])
    with pytest.raises(Untrusted):
        verify_note(note, [key("other.example")])
    # Same name, other key; same key, other name: unknown, so ignored.
    with pytest.raises(Untrusted):
        verify_note(note, [make_vkey(ORIGIN, ED25519, signer("other").public.x)])
    with pytest.raises(Untrusted):
        verify_note(note, [make_vkey("renamed", ED25519, LOG.public)])
    # A type we cannot check is nobody we know.
    pq = make_vkey(ORIGIN, ML_DSA_44, b"k" * 1312)
    forged = add_signatures(HEAD, [Signature(ORIGIN, pq.key_id, b"s" * 2428)])
    assert len(verify_note(forged, [LOG, pq])[1]) == 1
    with pytest.raises(Untrusted):
        verify_note(forged, [pq])


def test_a_bad_signature_of_a_known_key_spoils_the_note():
    good = parse_note(HEAD)
    bad = Signature(ORIGIN, LOG.key_id, b"s" * 64)
    for signatures in [(bad,), (bad, *good.signatures), (*good.signatures, bad)]:
        with pytest.raises(BadSignature):
            verify_note(note_bytes(Note(good.text, signatures)), [LOG])
    for blob in (b"s", b"s" * 8, b"\xff" * 72, bytes(72), bytes(71)):
        line = Signature(W[0], key(W[0], COSIGNATURE).key_id, blob)
        with pytest.raises(BadSignature):
            verify_note(add_signatures(HEAD, [line]), [LOG, key(W[0], COSIGNATURE)])


def refused(data, keys):
    with pytest.raises(TraceNodeError):
        open_checkpoint(data, keys)


def test_every_changed_bit_of_a_checkpoint_is_refused():
    note = cosigned(HEAD, W[0])
    keys = [LOG, key(W[0], COSIGNATURE)]
    checkpoint, _, verified = open_checkpoint(note, keys)
    assert checkpoint == Checkpoint(ORIGIN, 42, ROOT)
    assert len(verified) == 2
    last = note.index("— w0".encode())
    for i in range(len(note)):
        for bit in range(8):
            changed = bytearray(note)
            changed[i] ^= 1 << bit
            try:
                _, _, who = open_checkpoint(bytes(changed), keys)
            except TraceNodeError:
                continue
            # Only a witness line turned into a stranger's may pass, and then
            # the witness does not count.
            assert i >= last
            assert [k for k, _ in who] == [LOG]
    for i in range(len(HEAD)):
        refused(HEAD[:i], keys)


def test_signing_refuses():
    with pytest.raises(Misuse):
        sign_note("t\n", "a", MemorySigner.from_seed("P-256", b"1" * 32))
    with pytest.raises(Misuse):
        cosign("t\n", "a", MemorySigner.from_seed("P-256", b"1" * 32), 1)
    for text, name in [
        ("t", "a"),
        ("t\r\n", "a"),
        ("\ud800\n", "a"),
        ("t\n", "a b"),
        ("t\n", ""),
    ]:
        with pytest.raises(Malformed):
            sign_note(text, name, signer("a"))
    for time in (-1, 0, 2**63):
        with pytest.raises(Malformed):
            cosign("t\n", "a", signer("a"), time)


@settings(max_examples=300)
@given(st.binary(max_size=200) | st.text(max_size=100).map(str.encode))
def test_any_bytes_as_note(data):
    try:
        note = parse_note(data)
    except TraceNodeError:
        return
    assert note_bytes(note) == data


@settings(max_examples=300)
@given(st.text(alphabet="— aA=\n+/", max_size=60))
def test_almost_notes(text):
    try:
        note = parse_note(text.encode())
    except TraceNodeError:
        return
    assert note_bytes(note) == text.encode()


# ---- checkpoints


@pytest.mark.parametrize(
    "size",
    [
        "",
        "-1",
        "+1",
        "01",
        "00",
        "1 ",
        " 1",
        "1e3",
        "٣",
        "0x1",
        "9223372036854775808",
        "1_0",
    ],
)
def test_bad_sizes(size):
    text = Checkpoint("o", 7, ROOT).text().replace("\n7\n", f"\n{size}\n")
    with pytest.raises(Malformed):
        parse_checkpoint_text(text)


def test_checkpoint_texts():
    largest = Checkpoint("o", 2**63 - 1, ROOT, ("ext", "more"))
    assert parse_checkpoint_text(largest.text()) == largest
    good = Checkpoint("o", 7, ROOT).text()
    assert parse_checkpoint_text(good).size == 7
    root = good.split("\n")[2]
    for bad in ["", "\n", "o\n7\n", good[:-1], "\n" + good, good + "\n", good.replace("o\n", "\n", 1),
                good.replace(root, root[:-1]), good.replace(root, root[4:]), good.replace(root, "AAAA" + root)]:  # fmt: skip
        with pytest.raises(Malformed):
            parse_checkpoint_text(bad)
    for args in [("", 1, ROOT), ("o", -1, ROOT), ("o", 2**63, ROOT), ("o", 1, b"r"), ("a\nb", 1, ROOT), ("o", 1, ROOT, ("",))]:  # fmt: skip
        with pytest.raises(Malformed):
            Checkpoint(*args)
    for origin in ("a b", "a+b", ""):
        with pytest.raises(Malformed):
            sign_checkpoint(origin, 1, ROOT, signer("a"))


def test_only_the_log_itself_speaks_for_a_log():
    other = key("other.example/log")
    text = Checkpoint(ORIGIN, 42, ROOT).text()
    forged = note_bytes(Note(text, (sign_note(text, other.name, signer(other.name)),)))
    with pytest.raises(Untrusted):
        open_checkpoint(forged, [LOG, other])
    # Nor does a witness, even one named like the log.
    witness = make_vkey(ORIGIN, COSIGNATURE, signer("w").public.x)
    forged = note_bytes(Note(text, (cosign(text, ORIGIN, signer("w"), 1),)))
    with pytest.raises(Untrusted):
        open_checkpoint(forged, [LOG, witness])
    with pytest.raises(Untrusted):
        open_checkpoint(forged, [witness])


# ---- quorum

POLICY = parse_policy(
    f"log {LOG}\n"
    + "".join(f"witness W{i} {key(n, COSIGNATURE)}\n" for i, n in enumerate(W))
    + "group G 2 W0 W1 W2\nquorum G\n"
)


def test_quorum():
    assert check_quorum(cosigned(HEAD, W[2], W[0]), POLICY) == [
        ("W0", 1_700_000_001),
        ("W2", 1_700_000_000),
    ]
    for names in [(), (W[0],), (W[0], "stranger.example"), (W[1], W[1])]:
        with pytest.raises(Untrusted, match=r"G: .* more of"):
            check_quorum(cosigned(HEAD, *names), POLICY)
    assert check_quorum(HEAD, parse_policy("quorum none")) == []


def test_the_latest_of_two_cosignatures_counts():
    twice = cosigned(cosigned(HEAD, *W, at=200), *W, at=100)
    assert check_quorum(twice, POLICY)[0] == ("W0", 200)
    assert cosigned(twice, *W, at=100) == twice


def test_a_cosignature_of_another_head_does_not_count():
    other = sign_checkpoint(ORIGIN, 43, ROOT, signer(ORIGIN))
    stolen = parse_note(cosigned(other, *W)).signatures[1:]
    with pytest.raises(BadSignature):
        check_quorum(add_signatures(HEAD, stolen), POLICY)
    # A plain signature is no cosignature: the types have different key ids.
    text = parse_note(HEAD).text
    plain = [sign_note(text, n, signer(n)) for n in W]
    with pytest.raises(Untrusted):
        check_quorum(add_signatures(HEAD, plain), POLICY)
