"""Exact and near duplicates within a set, by hashes alone: 60 bytes a row, however many there are.

Near duplicates: MinHash of each question's windows (rensa), its signature cut into bands, and rows that agree
in a band are compared (LSH). A question with other numbers or another answer is another question, so a band's
key holds the hashes of these, too: copies with changed numbers, of which sets made from templates are full,
never meet, nor do "arrange the letters of the word RADII" and "... TARTAR".
"""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np
from rensa import RMinHash  # pyright: ignore[reportAttributeAccessIssue]

from rstar_jax.data.clean.forms import Forms
from rstar_jax.data.clean.rows import Rows, mix, similarity

# At a Jaccard similarity of 0.8 all but 2 in 1,000 pairs agree in a band, at 0.5 half of them do.
_BANDS, _ROWS = 12, 4
_SEED = 42
_COMPARED = 4096  # pairs at a time


class Sketches:
    """Hashes of the questions of a set. exact: [N] uint64, 0 where blank. bands: [bands, N] uint32."""

    def __init__(self, size: int, near: bool) -> None:
        self.exact = np.zeros(size, np.uint64)
        self.bands = np.zeros((_BANDS if near else 0, size), np.uint32)
        self._compared = np.zeros(size, bool)

    def add(self, start: int, texts: Forms, answers: np.ndarray) -> None:
        """Take a batch that begins at row `start`. answers: [texts] uint64, hashes."""
        rows = slice(start, start + len(texts.exact))
        self.exact[rows] = texts.exact
        if len(self.bands) and len(texts.exact):
            self.bands[:, rows] = _bands(texts.windows, mix(texts.numbers.hashes() + answers))
            self._compared[rows] = np.diff(texts.windows.offsets) > 0  # too short to be near anything

    def exact_duplicates(self, alive: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return rows that equal an earlier one, and the first such of each, among those `alive` [N] says."""
        rows = np.flatnonzero(alive & (self.exact != 0))
        order = rows[np.argsort(self.exact[rows], kind="stable")]
        again = np.zeros(len(order), bool)
        again[1:] = self.exact[order[1:]] == self.exact[order[:-1]]
        first = np.maximum.accumulate(np.where(again, 0, np.arange(len(order))))
        return order[again], order[first][again]

    def near_duplicates(
        self, alive: np.ndarray, least: float, windows: Callable[[np.ndarray], Rows]
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return rows that are near an earlier one, that one, and their Jaccard similarity, by row.

        least: Jaccard similarity. windows: reads the distinct windows of rows that are to be compared.
        A row is near the first of its group: groups are rows joined by such similarities.
        """
        first = np.arange(len(alive), dtype=np.int32)
        shares = np.zeros(len(alive), np.float32)

        def root(row: int) -> int:
            while first[row] != row:
                first[row] = first[first[row]]
                row = int(first[row])
            return row

        unlike = np.zeros(0, np.int64)
        for keys in self.bands:
            pairs = _agreeing(keys, np.flatnonzero(alive & self._compared))
            left, right = np.divmod(pairs, len(alive))
            pairs = pairs[(first[left] != first[right]) & ~np.isin(pairs, unlike)]
            failed = [unlike]
            for some in np.array_split(pairs, max(1, -(-len(pairs) // _COMPARED))):
                left, right = np.divmod(some, len(alive))
                rows, places = np.unique(np.concatenate([left, right]), return_inverse=True)
                texts = windows(rows)
                _, jaccard = similarity(texts.take(places[: len(some)]), texts.take(places[len(some) :]))
                for pair in np.flatnonzero(jaccard >= least).tolist():
                    one, other = sorted((root(int(left[pair])), root(int(right[pair]))))
                    if one != other:
                        first[other] = one
                        shares[other] = jaccard[pair]
                failed.append(some[jaccard < least])
            unlike = np.unique(np.concatenate(failed))
            while (first != first[first]).any():  # each row points to the first of its group
                first = first[first]
        rows = np.flatnonzero(first != np.arange(len(alive)))
        return rows, first[rows].astype(np.int64), shares[rows]


def _bands(windows: Rows, sames: np.ndarray) -> np.ndarray:
    """Return each text's keys, [bands, texts] uint32. sames: [texts] uint64, what must be the same."""
    matrix = RMinHash.digest_matrix_from_flat_token_hashes(
        windows.values, windows.offsets.astype(np.uint64), _BANDS * _ROWS, _SEED
    )
    numbers_of_rows = itertools.chain.from_iterable(matrix.to_rows())
    signature = np.fromiter(numbers_of_rows, np.uint64, len(windows) * _BANDS * _ROWS)
    signature = signature.reshape(len(windows), _BANDS, _ROWS)
    keys = np.broadcast_to(sames[:, None], signature.shape[:2])
    for row in range(_ROWS):
        keys = mix(keys + signature[:, :, row])
    return keys.T.astype(np.uint32)


def _agreeing(keys: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Return pairs of rows with the same key, each as `earlier * N + later`: every row with the first of its
    kind and with the one before it, which is linear in the rows and finds groups that are not all alike."""
    order = rows[np.argsort(keys[rows], kind="stable")]
    same = np.zeros(len(order), bool)
    same[1:] = keys[order[1:]] == keys[order[:-1]]
    places = np.arange(len(order))
    firsts = np.maximum.accumulate(np.where(same, 0, places))
    size = np.int64(len(keys))
    pairs = [order[before[same]] * size + order[same] for before in (firsts, places - 1)]
    return np.unique(np.concatenate(pairs))
