"""Options of asking a server."""

from __future__ import annotations

import dataclasses

from rstar_jax.settings import at_least, require


@dataclasses.dataclass(frozen=True)
class ServedConfig:
    """How a policy behind a server is asked.

    slots: requests in flight, each for all candidates of a step where the server takes that. top_p: of
        nucleus sampling.
    first_s: most seconds until the first token of a request, the server's own queue included. stall_s: most
        seconds between two tokens; a request that takes longer is ended, counted and sent again.
    connect_s: most seconds of making a connection. attempts: how often a request is sent that fails while the
        server answers others; then its candidates are dead. give_up_s: seconds without any answer from the
        server after which the run ends, to go on later.
    backoff_s: the first pause after a failure, in seconds, doubled with each further one.
    longest_backoff_s: the longest such pause, in seconds.
    """

    slots: int = 64
    top_p: float = 1.0
    first_s: float = 600.0
    stall_s: float = 60.0
    connect_s: float = 10.0
    attempts: int = 4
    give_up_s: float = 1800.0
    backoff_s: float = 0.5
    longest_backoff_s: float = 60.0

    def __post_init__(self) -> None:
        at_least(self, "served", slots=1, attempts=1, give_up_s=0)
        for name in ("first_s", "stall_s", "connect_s", "backoff_s", "longest_backoff_s"):
            require(getattr(self, name) > 0, f"served.{name}", getattr(self, name), "seconds above 0")
        require(0 < self.top_p <= 1, "served.top_p", self.top_p, "a share above 0 and at most 1")
