"""What a center does beside answering: work that comes round again and again."""

from collections.abc import Callable
from threading import Event, Thread

from trace_node.errors import BlobsDown
from trace_node.services.health import Health
from trace_node.services.priority import stand_back

Work = Callable[[], None]


class Background:
    """Threads that each repeat one piece of work; a failure waits for the next turn."""

    def __init__(
        self, health: Health, failed: Callable[[str, Exception], None]
    ) -> None:
        """Begin with nothing to do.

        Args:
            health: told what works and what is out of reach.
            failed: told the rest.
        """
        self.stopping = Event()
        self._health = health
        self._failed = failed
        self._threads: list[Thread] = []

    def repeat(self, name: str, work: Work, pause: float) -> None:
        """Do ``work`` every ``pause`` seconds, and once more at the end."""
        thread = Thread(
            target=self._repeat, args=(name, work, pause), name=name, daemon=True
        )
        thread.start()
        self._threads.append(thread)

    def turn(self, name: str, work: Work) -> None:
        """Do ``work`` once, now."""
        try:
            work()
        except BlobsDown as error:
            self._health.degrade(name, error)
        except Exception as error:  # noqa: BLE001 - the next turn tries again
            self._failed(name, error)
        else:
            self._health.worked(name)

    def stop(self) -> None:
        """Let every thread take its last turn, and wait for it."""
        self.stopping.set()
        for thread in self._threads:
            thread.join()

    def _repeat(self, name: str, work: Work, pause: float) -> None:
        stand_back()
        while True:
            ended = self.stopping.wait(pause)
            self.turn(name, work)
            if ended:
                return
