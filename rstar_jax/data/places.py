"""Where rows came from, in 12 bytes each."""

from __future__ import annotations

from array import array

from rstar_jax.data.tables import Place


class Places:
    """Places of rows by index. `add` them first."""

    def __init__(self) -> None:
        self._files: list[tuple[object, str]] = []
        self._known: dict[tuple[object, str], int] = {}
        self._file, self._number = array("i"), array("q")

    def add(self, place: Place) -> None:
        """Append the place of the next row."""
        file = place.path, place.kind
        if file not in self._known:
            self._known[file] = len(self._files)
            self._files.append(file)
        self._file.append(self._known[file])
        self._number.append(place.number)

    def __len__(self) -> int:
        return len(self._number)

    def __getitem__(self, index: int) -> Place:
        path, kind = self._files[self._file[index]]
        return Place(path, kind, self._number[index])  # pyright: ignore[reportArgumentType]
