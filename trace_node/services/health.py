"""How a center is: what keeps it from taking writes, and what it has done."""

import logging
import time
from dataclasses import dataclass, field

from trace_node.errors import BlobsDown

LOGGER = logging.getLogger("trace_node")


@dataclass
class Health:
    """What the operator and the load balancer want to know."""

    problems: dict[str, str] = field(default_factory=dict)  # by who met it
    degraded: dict[str, str] = field(default_factory=dict)  # the same, writes go on
    low_space: bool = False
    commits: int = 0
    entries: int = 0
    failures: int = 0
    started: float = field(default_factory=time.monotonic)

    def reason(self) -> str:
        """Return why the center takes no writes; empty when it does."""
        if self.low_space:
            return "the disk is nearly full"
        return "; ".join(list(self.problems.values()))

    def limits(self) -> str:
        """Return what does not work while the center takes writes."""
        return "; ".join(list(self.degraded.values()))

    def worked(self, name: str) -> None:
        """Take note that ``name`` does its work again."""
        self.problems.pop(name, None)
        self.degraded.pop(name, None)

    def degrade(self, name: str, error: BlobsDown) -> None:
        """Take note that ``name`` cannot reach the blobs.

        Statements and records that are rows are taken as ever.
        """
        self.problems.pop(name, None)
        text = f"{name}: {error}"
        if self.degraded.get(name) != text:
            self.degraded[name] = text
            LOGGER.warning("%s", text)

    def failed(self, name: str, error: Exception) -> None:
        """Take note that ``name`` failed, and say so."""
        self.failures += 1
        text = f"{name}: {type(error).__name__}: {error}"
        if self.problems.get(name) != text:  # it is tried again every few seconds
            self.problems[name] = text
            LOGGER.error("%s", text)
