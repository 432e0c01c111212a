"""The command ``demo``: a real story on this machine, through the real doors.

A consignment of infant formula goes from New Zealand to Nansha. Everything
happens as it would between strangers: a center listens on a port, an importer
signs with its own key and sends over HTTP, and who checks has a policy file.
"""

import signal
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from hashlib import sha256
from importlib.resources import files
from pathlib import Path
from threading import Event
from types import FrameType
from typing import Annotated

import typer

from trace_node import config, local, node
from trace_node.cli.demo_server import Server, listen
from trace_node.cli.files import read_policy
from trace_node.cli.importing import JOURNALS, load_author
from trace_node.cli.keyfile import secret_of
from trace_node.client import Client, Importer, Options, Registered
from trace_node.errors import NotVerified, StoreCorrupt, TraceNodeError
from trace_node.services.audit import audit_center
from trace_node.store.engine import place_of
from trace_node.store.files import write_file
from trace_node.store.keys import new_signer, save_signer
from trace_node.trust.base64url import encode as base64url
from trace_node.trust.did import did_key
from trace_node.trust.record import loads_strict, ni
from trace_node.verify import verify_bundle
from trace_node.verify.verdict import timestamp

HOST = "127.0.0.1"
NAME = "南沙全球溯源中心 · demo"
IMPORTER = "Guangzhou Nansha Haihe Trading Co. 南沙海禾贸易 (demo)"
DATA = ("consignment.jsonld", "declaration.csv")
RELEASED = "releasing"  # bizStep of the event that the bundle is about


def add_to(app: typer.Typer) -> None:
    """Add the command of this file."""
    app.command()(demo)


def demo(
    *,
    once: Annotated[
        bool, typer.Option("--once", help="End after the story; exit code 0.")
    ] = False,
    folder: Annotated[
        Path | None,
        typer.Option("--dir", help="Keep everything there; a new folder."),
    ] = None,
    port: Annotated[int, typer.Option(help="Port; 0 takes a free one.")] = 0,
) -> None:
    """Tell a real story on this machine, then keep serving until Ctrl-C."""
    signal.signal(signal.SIGTERM, _interrupt)
    with ExitStack() as stack:
        place = folder or Path(
            stack.enter_context(tempfile.TemporaryDirectory(prefix="trace-node-demo-"))
        )
        try:
            story = Story(place, port, stack)
            story.tell()
            if not once:
                print("\nCtrl-C ends.", flush=True)
                Event().wait()
        except KeyboardInterrupt:
            print("\nended.")


def _interrupt(_: int, __: FrameType | None) -> None:
    raise KeyboardInterrupt


class Story:
    """The steps, in order; each leaves what the next needs."""

    def __init__(self, place: Path, port: int, stack: ExitStack) -> None:
        """Take a port, which becomes part of the log's name."""
        self._stack = stack
        self._socket = stack.enter_context(listen(HOST, port))
        self.address = f"{HOST}:{self._socket.getsockname()[1]}"
        self.url = f"http://{self.address}"
        self.center = place / "center"
        self.party = place / "importer"
        self.bundle = place / "bundle.json"
        self._number = 0

    def tell(self) -> None:
        """Tell it all."""
        begin = time.perf_counter()
        print("trace-node 全球溯源中心: infant formula, New Zealand to Nansha\n")
        self._found()
        self._add_importer()
        with self._client() as client:
            self._import(client)
            self._verify_receipts(client)
            self._take_away(client)
        self._change_a_byte()
        self._audit()
        print(f"\nall of it in {time.perf_counter() - begin:.1f} s. Look around:\n")
        for path, what in (
            ("/v1/center", "who this center is 中心"),
            ("/log/checkpoint", "the signed head of its log 日志"),
            ("/entries/1.0/proof", "proof of the first entry 证明"),
            (f"/v1/records/{self._name}", "the release, as it was said 放行"),
            (f"/v1/records/{self._name}?format=bundle", "the same, with its proofs"),
            ("/metrics", "figures for operations 运行指标"),
        ):
            print(f"  {self.url}{path}\n      {what}")

    def say(self, *lines: str) -> None:
        """Print lines under the current step."""
        for line in lines:
            print(f"      {line}".rstrip())

    @contextmanager
    def _step(self, title: str) -> Iterator[None]:
        self._number += 1
        print(f"  {self._number}  {title}", flush=True)
        begin = time.perf_counter()
        yield
        print(f"      {time.perf_counter() - begin:.2f} s\n", flush=True)

    def _found(self) -> None:
        with self._step("A center is founded and serves 建立溯源中心"):
            given = {"origin": f"{self.address}/log", "name": NAME}
            settings = config.build(None, given)
            node.found(self.center, settings).close()
            made = node.Node(self.center, config.load(self.center))
            self._vkey = made.vkey
            self._origin = settings.origin
            self._stack.enter_context(Server(made, self._socket))
            self.say(f"log     {settings.origin}", f"serves  {self.url}")
            self.say(f"policy  {self.center / 'policy.txt'}")

    def _add_importer(self) -> None:
        with self._step("The operator registers an importer 登记共建方"):
            signer = new_signer("Ed25519")
            self._key = self.party / "key.pem"
            save_signer(self._key, signer, secret_of(self._key, create=True))
            did = did_key(signer.public)
            public = {"kid": signer.public.kid_text, "jwk": signer.public.jwk()}
            # As `trace-node party add` does it: another process beside the server.
            operator = node.Node(self.center, config.load(self.center))
            try:
                operator.say(
                    "party", {"did": did, "name": IMPORTER, "kind": "enterprise"}
                )
                operator.say("key", {"did": did, "action": "add", **public})
            finally:
                operator.close()
            self.say(IMPORTER, did)

    def _client(self) -> Client:
        self._author = load_author(self._key, None)
        self._policy = read_policy(self.center / "policy.txt")
        return Client(self.url, policy=self._policy)

    def _import(self, client: Client) -> None:
        with self._step("Its consignment is imported over HTTP 导入商品信息"):
            self._done: list[tuple[Registered, list[bytes]]] = []
            importer = Importer(
                client,
                self._author,
                self.party / JOURNALS,
                Options(timestamp(local.now()), rules=local.read_rules()),
                done=lambda registered, records: self._done.append(
                    (registered, records)
                ),
            )
            source = self.party / "files"
            for name in DATA:
                data = files("trace_node").joinpath("demo_data", name).read_bytes()
                write_file(source / name, data)
            report = importer.run([source / name for name in DATA])
            events, lines = (len(records) for _, records in self._done)
            self.say(
                f"{events} events, from factory audit 工厂审核 to bonded store 保税仓",
                f"{lines} lines of the customs declaration 报关单",
                f"{report.statements} signatures, entries {report.indices}",
            )

    def _verify_receipts(self, client: Client) -> None:
        with self._step("Receipts are verified offline 验证回执"):
            trust = client.trust()
            for registered, _ in self._done:
                trust.check_receipt(
                    registered.receipt, registered.statement, registered.index
                )
                self.say(f"entry {registered.index} is under a root signed by the log")

    def _take_away(self, client: Client) -> None:
        with self._step("Customs takes the proof of the release away 放行证明"):
            records = [record for _, group in self._done for record in group]
            event = next(record for record in records if _step_of(record) == RELEASED)
            digest = sha256(event).digest()
            self._name = base64url(digest)
            self._event = event
            write_file(self.bundle, client.bundle(digest))
            verdict = verify_bundle(self.bundle.read_bytes(), self._policy)
            mention = verdict.facts["mentions"][0]
            self.say(
                f"record  {ni(digest)}",
                f"said by {mention['issuer']}",
                f"entry   {mention['index']}, recorded {mention['recorded']}",
                f"checked with the policy file only: {self.bundle}",
            )

    def _change_a_byte(self) -> None:
        with self._step("One byte of it is changed 篡改一个字节"):
            data = bytearray(self.bundle.read_bytes())
            encoded = base64url(self._event).encode()
            at = data.index(encoded) + len(encoded) // 2  # within what was said
            before = chr(data[at])
            data[at] = ord("A") if before != "A" else ord("B")
            try:
                verify_bundle(bytes(data), self._policy)
            except TraceNodeError as error:
                self.say(
                    f"byte {at}: {before!r} became {chr(data[at])!r}",
                    f"found: {error}",
                )
            else:
                raise NotVerified(f"the change of byte {at} was not found")

    def _audit(self) -> None:
        with self._step("The log is audited: every byte again 审计日志"):
            settings = config.load(self.center)
            url = settings.database_url.get_secret_value()
            place = place_of(self.center, url, settings.blobs)
            report = audit_center(place, self._origin, self._vkey, workers=1)
            if not report.ok:
                first = report.findings.kept[0]
                raise StoreCorrupt(first.message, where=first.where)
            counts = ", ".join(
                f"{count} {what}" for what, count in sorted(report.counts.items())
            )
            self.say(f"{report.size} entries: {counts}", "all of it holds")


def _step_of(record: bytes) -> str:
    """Return the bizStep of the event in a record; empty when it is another."""
    body = loads_strict(record)["body"]
    return str(body.get("event", {}).get("bizStep", ""))
