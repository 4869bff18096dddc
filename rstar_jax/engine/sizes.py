"""Static sizes of the engine's programs, by its options alone, and how many programs they make."""

from __future__ import annotations

from collections.abc import Iterable

from rstar_jax.engine.buckets import cache_bucket, prefill_bucket, score_bucket, suffix_bucket
from rstar_jax.engine.requests import DecodeConfig

# Tokens behind a known text that are prepared for; an interpreter seldom prints more.
_FEW = 64


class Sizes:
    """Columns of texts, caches and steps. `shortest` is the shortest prompt, in tokens."""

    def __init__(self, config: DecodeConfig) -> None:
        self.config = config
        self.longest = min(config.max_step_tokens, config.context)

    def columns(self, length: int) -> int:
        """Columns in which a text of so many tokens is read on from, or scored after."""
        return cache_bucket(length, self.config.context)

    def whole_pages(self, length: int) -> int:
        """Columns in which candidates are decoded after a text of so many tokens."""
        return -(-self.columns(length) // self.config.page_size) * self.config.page_size

    def prefill(self, length: int) -> int:
        """Columns in which so many first tokens are read."""
        return prefill_bucket(length, self.config.context)

    def suffix(self, length: int) -> int:
        """Columns for candidates of so many tokens."""
        return suffix_bucket(length, self.longest)

    def prefixes(self, shortest: int) -> list[int]:
        """All that `columns` gives."""
        return sorted({self.columns(length) for length in self._lengths(shortest)})

    def decoded(self, shortest: int) -> list[int]:
        """All that `whole_pages` gives."""
        return sorted({self.whole_pages(length) for length in self._lengths(shortest)})

    def first(self, shortest: int) -> list[int]:
        """All that `prefill` gives."""
        return sorted({self.prefill(length) for length in self._lengths(shortest)})

    def few(self) -> list[int]:
        """Columns of a few tokens behind a known text."""
        return sorted({score_bucket(length) for length in range(1, _FEW + 1)})

    def suffixes(self) -> list[int]:
        """All that `suffix` gives."""
        chunk = self.config.chunk
        return sorted({self.suffix(length) for length in range(chunk, self.longest + chunk)})

    def scored(self) -> list[int]:
        """Columns of steps that are scored."""
        return sorted({score_bucket(length) for length in range(1, self.longest + 1)})

    def at_once(self, candidates: Iterable[int]) -> list[int]:
        """Candidates of a leaf that are decoded at once, where so many are asked for. 0s are left out;
        without any: one, and all."""
        asked = {min(n, self.config.rows) for n in candidates if n}
        return sorted(asked or {1, self.config.rows})

    def through_layers(self, shortest: int, candidates: Iterable[int], *, scores: bool) -> int:
        """Count the programs that go through a model's layers, at most: those of a policy, and, where it
        `scores`, of a PPM. They take nearly all of the memory that programs take."""
        reading = len(self.first(shortest)) + len(self.few()) * len(self.prefixes(shortest))
        decoding = len({*self.config.batches}) * len(self.at_once(candidates))
        decoding *= len(self.decoded(shortest)) * len(self.suffixes())
        scoring = reading + len(self.prefixes(shortest)) * len(self.scored()) if scores else 0
        return reading + decoding + scoring

    def _lengths(self, shortest: int) -> range:
        return range(max(1, shortest - 1), self.config.context + 1)
