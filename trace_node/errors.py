"""Every error a caller may meet, in one tree.

    TraceNodeError
    ├── Malformed            the bytes are not what they claim to be (400)
    │   └── LimitExceeded    a stated limit is passed (413)
    ├── NotVerified          well-formed, but a check of trust does not hold
    │   ├── BadSignature     a signature does not fit key and bytes
    │   ├── BadProof         a Merkle proof does not lead to the root
    │   └── Untrusted        nobody the policy trusts stands behind it
    ├── Refused              understood, and this center does not register it (422)
    ├── NotFound             nothing here under that name (404)
    ├── Conflict             it contradicts what is already here (409)
    ├── Overloaded           no room now, try again after ``retry_after`` (503)
    ├── ReadOnly             the center must not sign now (503)
    ├── Misuse               the command line or configuration is wrong (exit 2)
    ├── Unreachable          the other side cannot be asked (exit 1)
    │   └── BlobsDown        the center's own object store does not answer (503)
    └── StoreCorrupt         what was stored is not what is read: never served

Each carries ``type``, a stable name for machines (RFC 9457 ``type`` after the
prefix ``urn:trace-node:problem:``), ``where``, the place in the input when one
is known, and ``help``, what a person can do about it.
"""


class TraceNodeError(Exception):
    """The root of the tree; never raised itself.

    Args:
        message: one sentence for a person.
        where: the place in the input ("body.key", "line 7", "byte 12").
    """

    type = "error"
    status = 400
    help = ""

    def __init__(self, message: str, *, where: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.where = where

    def __str__(self) -> str:
        return f"{self.message} ({self.where})" if self.where else self.message


class Malformed(TraceNodeError):
    """The bytes are not what they claim to be."""

    type = "malformed"
    help = "Compare the bytes with the format in docs/formats.md."


class LimitExceeded(Malformed):
    """A stated limit is passed."""

    type = "limit-exceeded"
    status = 413
    help = "Split the input, or ask the operator to raise the limit."


class NotVerified(TraceNodeError):
    """Well-formed, but a check of trust does not hold."""

    type = "not-verified"
    status = 422


class BadSignature(NotVerified):
    """A signature does not fit its key and bytes."""

    type = "bad-signature"
    help = "The bytes changed after signing, or another key signed them."


class BadProof(NotVerified):
    """A Merkle proof does not lead to the root."""

    type = "bad-proof"
    help = "The entry, the proof or the root was changed, or they do not belong."


class Untrusted(NotVerified):
    """Nobody the policy trusts stands behind it."""

    type = "untrusted"
    help = "Check that the policy names this log, and that its quorum can be met."


class Refused(TraceNodeError):
    """Understood, and this center does not register it."""

    type = "refused"
    status = 422


class NotFound(TraceNodeError):
    """Nothing here under that name."""

    type = "not-found"
    status = 404


class Conflict(TraceNodeError):
    """It contradicts what is already here."""

    type = "conflict"
    status = 409


class Overloaded(TraceNodeError):
    """No room now; the caller may try again after ``retry_after`` seconds."""

    type = "overloaded"
    status = 503
    retry_after = 1


class ReadOnly(TraceNodeError):
    """The center must not sign now; reads go on."""

    type = "read-only"
    status = 503
    retry_after = 30
    help = "The operator finds the reason under /health/ready."


class Misuse(TraceNodeError):
    """The command line or configuration is wrong."""

    type = "misuse"


class Unreachable(TraceNodeError):
    """The other side cannot be asked."""

    type = "unreachable"
    status = 503


class BlobsDown(Unreachable):
    """The object store beside the database does not answer; small records go on."""

    type = "blobs-down"
    retry_after = 5
    help = "Send it again later; the operator finds the reason under /health/ready."


class StoreCorrupt(TraceNodeError):
    """What was stored is not what is read; it is never served."""

    type = "store-corrupt"
    status = 503
    retry_after = 30
    help = "The operator runs `trace-node scrub DIR --repair --from BACKUP`."
