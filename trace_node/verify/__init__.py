"""Check offline what a center hands out: bytes and a policy in, a verdict out. Pure.

No network, no database, no clock: the reader's policy file names the log and its
witnesses, and everything else is in the bytes or it is not believed. Whatever
does not hold is an error that names the place.
"""

from trace_node.verify.bundle import verify_bundle
from trace_node.verify.files import verify_file, verify_transparent
from trace_node.verify.replay import Replay
from trace_node.verify.report import AuditReport, Finding
from trace_node.verify.verdict import Verdict

__all__ = [
    "AuditReport",
    "Finding",
    "Replay",
    "Verdict",
    "verify_bundle",
    "verify_file",
    "verify_transparent",
]
