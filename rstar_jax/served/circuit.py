"""How many requests a server may be sent: all slots while it answers, one at a time while it does not.

         success: allowed doubles, up to all slots          failure that speaks of the server
    open <---------------------------------------- probing <---------------------------------- open
                                                    |    ^ a failed probe: the pause doubles
                                                    `----'

A failure of one request speaks of the server where the server says so (429, 503, no connection), or where it
has answered nothing since that request was sent; of one that stalled, in the last half of its silence.
"""

from __future__ import annotations

import random

from rstar_jax.served.settings import ServedConfig


class Circuit:
    """allowed: requests in flight. not_before: when the next one may be sent, on the caller's clock, seconds.
    failing_since: when the first failure after the last answer came; None where none has."""

    def __init__(self, config: ServedConfig, draw: random.Random) -> None:
        self._config, self._draw = config, draw
        self.allowed, self.not_before = config.slots, 0.0
        self.failing_since: float | None = None
        self._pause, self._opened, self._answered = 0.0, float("-inf"), float("-inf")

    def answered(self, now: float) -> None:
        """Note an answer, or a token of one under way."""
        self._answered = now
        self.failing_since = None

    def completed(self, now: float) -> None:
        """Note a complete answer: twice as many requests are allowed."""
        self.answered(now)
        self._pause = 0.0
        self.allowed = min(self._config.slots, 2 * self.allowed)

    def failed(self, now: float, sent: float, since: float, retry_after: float = 0.0) -> bool:
        """Note the failure of a request that was sent at a time; return whether it speaks of the server: it
        has answered nothing from the time `since` on. retry_after: seconds for which it is to be left alone.
        """
        if self._answered > since:
            return False
        if self.failing_since is None:
            self.failing_since = now
        self.allowed = 1
        if sent >= self._opened:  # the others were sent before the first one failed: one failure
            c = self._config
            self._pause = min(c.longest_backoff_s, 2 * self._pause or c.backoff_s)
            self._opened = now
        # Half of it is drawn: clients that failed together do not come back together.
        pause = self._pause * (0.5 + 0.5 * self._draw.random())
        self.not_before = max(self.not_before, now + max(pause, retry_after))
        return True

    def waited(self, now: float) -> float:
        """Return for how many seconds nothing was answered, since the first failure."""
        return 0.0 if self.failing_since is None else now - self.failing_since
