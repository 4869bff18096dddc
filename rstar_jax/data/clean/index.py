"""An index from grams (hashes of windows, of runs of words) to the texts that hold them."""

from __future__ import annotations

import numpy as np

from rstar_jax.data.clean.rows import Rows

_COMMON = 64  # a gram of more questions than this says little: "enter your answer as a common fraction"
_RAREST = 4  # of each question the rarest grams are looked for, however common


class GramIndex:
    """Finds which texts share grams with a new one. sizes: [texts], how many different grams each has.
    looked_for: [texts], how many of them are in the index: fewer where many texts share them."""

    def __init__(self, texts: Rows) -> None:
        texts = texts.distinct()
        self.sizes = np.diff(texts.offsets)
        order = np.argsort(texts.values, kind="stable")
        values, owners = texts.values[order], texts.owners[order]
        first = np.ones(len(values), bool)
        first[1:] = values[1:] != values[:-1]
        begins = np.flatnonzero(first)
        counts = np.diff(np.append(begins, len(values)))
        counts = np.repeat(counts, counts)
        kept = (counts <= _COMMON) | (ranks(owners, counts) < _RAREST)
        values, self._owners = values[kept], owners[kept]
        self.looked_for = np.bincount(self._owners, minlength=len(self.sizes))
        self._values, begins = np.unique(values, return_index=True)
        self._begins = np.append(begins, len(values))
        self._bits = np.uint64(max(10, (8 * len(self._values)).bit_length()))
        self._filter = np.zeros(1 << int(self._bits), bool)
        self._filter[self._slots(self._values)] = True

    def _slots(self, values: np.ndarray) -> np.ndarray:
        return (values >> (np.uint64(64) - self._bits)).astype(np.int64)

    def shared(self, texts: Rows) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return pairs: number of a text, number of one in the index, how many different grams they share."""
        # Most grams are of no benchmark: the filter says so for seven of eight that are not, in one access.
        some = texts.where(self._filter[self._slots(texts.values)])
        places = np.searchsorted(self._values, some.values)
        found = places < len(self._values)
        found[found] = self._values[places[found]] == some.values[found]
        keys = np.unique(some.owners[found] * len(self._values) + places[found])
        rows, places = keys // max(1, len(self._values)), keys % max(1, len(self._values))
        counts = self._begins[places + 1] - self._begins[places]
        ends = np.cumsum(counts)
        each = np.arange(ends[-1] if len(ends) else 0) - np.repeat(ends - counts, counts)
        others = self._owners[np.repeat(self._begins[places], counts) + each]
        pairs, shared = np.unique(np.repeat(rows, counts) * len(self.sizes) + others, return_counts=True)
        return pairs // max(1, len(self.sizes)), pairs % max(1, len(self.sizes)), shared


def ranks(owners: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Rank each gram among those of its text, 0 for the rarest."""
    order = np.lexsort((counts, owners))
    sizes = np.bincount(owners) if len(owners) else np.zeros(0, np.int64)
    places = np.empty(len(owners), np.int64)
    places[order] = np.arange(len(owners)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    return places
