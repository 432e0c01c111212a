"""The center's own keys: read from their files, compared with what the log names."""

from dataclasses import dataclass
from pathlib import Path

from trace_node.errors import Misuse, TraceNodeError
from trace_node.services.admission import LogAdmission
from trace_node.store import keys
from trace_node.store.failing import told
from trace_node.trust.keys import MemorySigner

USES = ("root", "center", "receipt", "log")


@dataclass(frozen=True)
class Keys:
    """The center's own keys; each has one use."""

    root: MemorySigner | None  # may be kept elsewhere; governance needs it
    center: MemorySigner
    receipt: MemorySigner
    log: MemorySigner

    @classmethod
    def load(cls, folder: Path, given: str | None) -> "Keys":
        """Read the key files of the center in ``folder``.

        Raises:
            Misuse: one is not there, or the passphrase does not open it.
        """
        place = folder / "keys"
        secret = keys.passphrase(place, given)
        found = {
            use: keys.load_signer(place / f"{use}.pem", secret)
            for use in USES
            if use != "root" or (place / "root.pem").exists()
        }
        return cls(found.get("root"), found["center"], found["receipt"], found["log"])

    def check(self, admission: LogAdmission, size: int) -> str:
        """Compare the files with the keys that the first ``size`` entries name.

        An encrypted key file carries no checksum: a flipped bit can make another
        key that opens with the same passphrase, and what it signs nobody could
        verify. Called before the sequencer's thread begins, for the fold is its.

        Returns:
            Why the comparison could not be made; empty when it was.

        Raises:
            Misuse: a file holds another key.
        """
        if not size:
            return ""
        try:
            with told():
                admission.catch_up(size)
        except TraceNodeError as error:  # the center may still be read
            return f"the governance records cannot be read: {error}"
        known = admission.state.keys
        signers = (("root", self.root), ("center", self.center))
        for use, signer in (*signers, ("receipt", self.receipt)):
            named = known.get(signer.public.thumbprint) if signer else None
            if signer and (named is None or named.use != use):
                raise Misuse(f"keys/{use}.pem holds no {use} key that the log names")
        return ""
