"""Receipts and proofs of entries that already have their place."""

from collections.abc import Callable

from trace_node.errors import (
    NotFound,
    Overloaded,
    StoreCorrupt,
    TraceNodeError,
    Untrusted,
)
from trace_node.ledger.merkle import inclusion_proof
from trace_node.ledger.receipt import decode_receipt, encode_receipt, verify_leaf
from trace_node.ledger.tiles import TILE_WIDTH
from trace_node.ledger.tlogproof import encode_proof
from trace_node.store.heads import HeadFile
from trace_node.store.log import Content, SqlLog
from trace_node.store.tiles import TileStore
from trace_node.store.vault import Vault
from trace_node.trust.keys import PublicKey
from trace_node.trust.merkle import HASH_SIZE
from trace_node.trust.parties import parse_policy
from trace_node.trust.record import parse_record
from trace_node.trust.statement import decode_statement


class Receipts:
    """Makes receipts and tlog-proofs again, from tiles and signed heads."""

    def __init__(
        self,
        log: SqlLog,
        vault: Vault,
        tiles: TileStore,
        keeper: HeadFile,
        settle: Callable[[], None],
        key: PublicKey,
    ) -> None:
        """Make receipts from what is stored.

        Args:
            log: the entries and their heads.
            vault: their content.
            tiles: their hashes.
            keeper: the heads signed.
            settle: keeps a head that a process elsewhere has appended.
            key: that receipts are signed with today.
        """
        self._settle = settle
        self._keys = {key.thumbprint: key}
        self._log = log
        self._vault = vault
        self._tiles = tiles
        self._keeper = keeper
        self._keys = {key.thumbprint: key}

    def receipt(self, index: int) -> bytes:
        """Return the first receipt of entry ``index``, byte for byte.

        It is made from the head of the commit that the entry came with; that
        head's signature was stored in the same transaction. It is checked again
        (0.1 ms), for a row that changed at rest would make a false receipt.

        Raises:
            NotFound: no such entry.
            StoreCorrupt: head or signature are not those that were signed.
            Overloaded: its head is not kept outside the database yet.
        """
        head = self._log.head_covering(index)
        if not self._kept(head.size):
            raise Overloaded("the entry's head is being sealed")
        self._reach(head.size)
        path = inclusion_proof(index, head.size, self._tiles.nodes(head.size))
        made = encode_receipt(
            head.receipt_protected, head.receipt_signature, head.size, index, path
        )
        tile = self._tiles.read(0, index // TILE_WIDTH, index % TILE_WIDTH + 1)
        try:
            key = self._key(decode_receipt(made).kid)
            verify_leaf(made, tile[-HASH_SIZE:], key)
        except TraceNodeError as error:
            raise StoreCorrupt(
                f"the stored head does not hold: {error}", where=f"head {head.size}"
            ) from None
        return made

    def covered(self, index: int) -> int:
        """Return the size of the head that entry ``index`` was signed under."""
        return self._log.head_covering(index).size

    def _key(self, kid: bytes) -> PublicKey:
        """Return a receipt key; one of former times is found in a policy record."""
        if kid not in self._keys:
            for entry in self._log.governance(0, self._tiles.size):
                statement = decode_statement(entry.statement)
                if statement.governance_type == "registration-policy":
                    record = parse_record(self._vault.read(statement.payload))
                    for named in parse_policy(record.body).keys:
                        if named.use == "receipt":
                            self._keys[named.public.thumbprint] = named.public
        if kid not in self._keys:
            raise Untrusted("no receipt key of this log")
        return self._keys[kid]

    def tlog_proof(self, index: int) -> bytes:
        """Return the C2SP tlog-proof of entry ``index`` to the newest head.

        Raises:
            NotFound: no such entry under a signed head.
        """
        if self._log.head().range.size > index:
            self._kept(index + 1)
        found = self._keeper.snapshot()
        if index < 0 or found is None or index >= found[0].size:
            raise NotFound(f"no entry {index}")
        last, note = found
        self._reach(last.size)
        path = inclusion_proof(index, last.size, self._tiles.nodes(last.size))
        return encode_proof(index, path, note)

    def complete(self, index: int, content: Content) -> bool:
        """Add content that came with a repeated statement; say if any was absent."""
        if self._absent(index, content):
            rows: list[tuple[bytes, int, bytes | None]] = [
                (digest, len(data), data) for digest, data in content.records
            ]
            rows += [(digest, size, None) for digest, size in content.filed]
            self._log.complete(index, content.digests, rows)
            return True
        return False

    def _absent(self, index: int, content: Content) -> bool:
        names = [digest for digest, _ in (*content.records, *content.filed)]
        if not names:
            return False
        if content.digests and not self._log.has_manifest(index):
            return True
        return not all(map(self._vault.has, names))

    def _kept(self, size: int) -> bool:
        """Say whether a head of ``size`` is kept; a process elsewhere may have it."""
        last = self._keeper.last()
        if last is None or last.size < size:
            self._settle()
            last = self._keeper.last()
        return last is not None and last.size >= size

    def _reach(self, size: int) -> None:
        if self._tiles.size < size:
            self._tiles.catch_up(size)
