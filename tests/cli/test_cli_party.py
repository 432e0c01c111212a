"""What a party does by hand: a key, a statement, its receipt, a bundle."""

import json

import pytest
from cli_story import answer, quick, trace_node

from trace_node.trust.policy import parse_policy
from trace_node.trust.record import parse_record
from trace_node.verify import verify_bundle


@pytest.mark.parametrize("curve", ["Ed25519", "P-256"])
def test_a_key(tmp_path, curve):
    key = tmp_path / "keys" / "k.pem"
    made = answer("keys", "new", key, "--curve", curve)
    assert made["did"].startswith("did:key:z")
    assert b"ENCRYPTED" in key.read_bytes()
    assert key.stat().st_mode & 0o777 == 0o600
    jwk = json.loads((tmp_path / "keys" / "k.pem.jwk").read_text())
    assert jwk["crv"] == curve
    assert "d" not in jwk
    before = key.read_bytes()
    trace_node("keys", "new", key, code=2)
    assert key.read_bytes() == before


def test_a_curve_that_is_none(tmp_path):
    trace_node("keys", "new", tmp_path / "k.pem", "--curve", "P-521", code=2)
    assert not list(tmp_path.iterdir())


def test_from_a_body_to_a_bundle(place, tmp_path):
    body = tmp_path / "body.json"
    body.write_text('{"certificate": "证书 77"}')
    out = tmp_path / "s.cose"
    signing = ["--key", place.key, "--aud", place.origin, "--out", out]
    made = answer("statement", "sign", body, "--type", "attestation", *signing)
    record = tmp_path / "s.cose.record.json"
    assert parse_record(record.read_bytes()).body == {"certificate": "证书 77"}
    done = answer("submit", out, "--record", record, *place.there())
    again = answer("submit", out, *place.there())
    assert done == again
    assert (tmp_path / "s.cose.receipt").stat().st_size > 100
    bundle = tmp_path / "b.json"
    answer("bundle", made["name"], *place.there(), "--out", bundle)
    policy = parse_policy(place.policy.read_text())
    verdict = verify_bundle(bundle.read_bytes(), policy)
    index = done["registered"][0]["index"]
    assert [m["index"] for m in verdict.facts["mentions"]] == [index]


def test_a_whole_record_is_signed_as_it_is(place, tmp_path):
    body = tmp_path / "body.json"
    body.write_text("{}")
    signing = ["--key", place.key, "--aud", place.origin]
    first, second = tmp_path / "1.cose", tmp_path / "2.cose"
    sign = ["statement", "sign"]
    trace_node(*sign, body, "--type", "notice", *signing, "--out", first)
    record = tmp_path / "1.cose.record.json"
    trace_node(*sign, record, *signing, "--out", second)
    assert first.read_bytes() == second.read_bytes()


def test_for_another_log(place, tmp_path):
    body = tmp_path / "body.json"
    body.write_text("{}")
    out = tmp_path / "s.cose"
    options = ["--key", place.key, "--aud", "other/log", "--out", out]
    trace_node("statement", "sign", body, "--type", "notice", *options)
    error = answer("submit", out, *place.there(), code=1)
    assert error["error"] == "refused"
    assert not (tmp_path / "s.cose.receipt").exists()


def test_a_record_of_no_statement(place, tmp_path):
    body = tmp_path / "body.json"
    body.write_text("{}")
    out = tmp_path / "s.cose"
    options = ["--key", place.key, "--aud", place.origin, "--out", out]
    trace_node("statement", "sign", body, "--type", "notice", *options)
    trace_node("submit", out, "--record", body, *place.there(), code=2)


@pytest.mark.parametrize(
    "arguments",
    [
        ["submit", "missing.cose"],
        ["bundle", "xyz", "--out", "b"],
        ["import", "missing.csv", "--key", "missing.pem"],
    ],
)
def test_misuse(place, tmp_path, arguments):
    error = json.loads(
        trace_node(*arguments, *place.there(), "--json", code=2, cwd=tmp_path)
    )
    assert error["error"] == "misuse"


def test_a_bundle_about_nothing(place, tmp_path):
    out = tmp_path / "b"
    error = answer("bundle", "00" * 32, *place.there(), "--out", out, code=1)
    assert error["error"] == "not-found"
    assert not out.exists()


def test_a_policy_for_another_log(place, tmp_path):
    answer("init", tmp_path / "other", "--origin", place.origin)
    policy = tmp_path / "other" / "policy.txt"
    options = ["--center", place.url, "--policy", policy, "--out", tmp_path / "b"]
    error = answer("bundle", "00" * 32, *options, code=1)
    assert error["error"] in {"not-found", "untrusted"}
    body = tmp_path / "body.json"
    body.write_text("{}")
    out = tmp_path / "s.cose"
    signing = ["--key", place.key, "--aud", place.origin, "--out", out]
    trace_node("statement", "sign", body, "--type", "notice", *signing)
    error = answer("submit", out, "--center", place.url, "--policy", policy, code=1)
    assert error["error"] in {"bad-signature", "untrusted"}


def signed(place, tmp_path, name="s.cose"):
    body = tmp_path / "body.json"
    body.write_text("{}")
    out = tmp_path / name
    options = ["--key", place.key, "--aud", place.origin, "--out", out]
    quick("statement", "sign", body, "--type", "notice", *options)
    return out


def test_an_output_never_replaces_an_input(place, tmp_path):
    out = signed(place, tmp_path)
    record = tmp_path / "s.cose.record.json"
    before = record.read_bytes()
    signing = ["--key", place.key, "--aud", place.origin]
    sign = ["statement", "sign", record, *signing]
    for bad in (record, place.key, tmp_path):
        assert quick(*sign, "--out", bad, code=2)["error"] == "misuse"
    table = tmp_path / "t.csv"
    table.write_text("a\n1\n")
    for bad in (table, tmp_path):
        quick("import", table, *place.party(), "--out", bad, code=2)
    quick("bundle", "00" * 32, *place.there(), "--out", place.policy, code=2)
    assert record.read_bytes() == before
    assert table.read_text() == "a\n1\n"
    assert out.is_file()


def test_of_many_statements_the_bad_one_is_named(place, tmp_path):
    good, bad = signed(place, tmp_path, "good.cose"), tmp_path / "bad.cose"
    bad.write_bytes(good.read_bytes()[:-1])
    error = quick("submit", good, bad, *place.there(), code=1)
    assert error["where"].startswith(str(bad))
    bad.write_bytes(good.read_bytes()[:-1] + b"\0")
    error = quick("submit", good, bad, *place.there(), code=1)
    assert error["where"].startswith(str(bad))


@pytest.mark.parametrize("aud", ["no such", "http://x/log", "x", "/log", "x/log/"])
def test_a_log_that_cannot_be(place, tmp_path, aud):
    body = tmp_path / "body.json"
    body.write_text("{}")
    options = ["--key", place.key, "--aud", aud, "--out", tmp_path / "s.cose"]
    quick("statement", "sign", body, "--type", "notice", *options, code=2)


def test_a_passphrase_that_others_can_read_or_that_is_none(tmp_path):
    key = tmp_path / "k.pem"
    quick("keys", "new", key)
    secret = tmp_path / "passphrase"
    body = tmp_path / "body.json"
    body.write_text("{}")
    sign = ["statement", "sign", body, "--type", "notice", "--key", key]
    sign += ["--aud", "x.example/log", "--out", tmp_path / "s.cose"]
    quick(*sign)
    secret.chmod(0o644)
    error = quick(*sign, code=2)
    assert "chmod 600" in error["help"]
    secret.chmod(0o600)
    secret.write_bytes(b"\n")
    assert "empty" in quick(*sign, code=2)["message"]
    assert "empty" in quick("keys", "new", tmp_path / "b.pem", code=2)["message"]


@pytest.mark.parametrize("text", ["", "log x\n", "quorum none\n", "\xff"])
def test_a_policy_that_is_none_is_misuse(tmp_path, text):
    policy = tmp_path / "policy.txt"
    policy.write_bytes(text.encode("latin-1"))
    error = quick("verify", policy, "--policy", policy, code=2)
    assert "is no policy" in error["message"]
