"""Trees of the scripted world are those that were written down (`write_goldens.py`)."""

from __future__ import annotations

import json

import pytest

from tests.search.write_goldens import FOLDER, MODES, search, stored


def test_there_is_a_file_for_each_mode():
    assert {path.stem for path in FOLDER.glob("*.json")} == set(MODES)


@pytest.mark.parametrize("mode", MODES)
def test_the_tree_is_the_one_written_down(mode):
    expected = json.loads((FOLDER / f"{mode}.json").read_text(encoding="utf-8"))
    for tree, told in zip(search(mode), expected, strict=True):
        found = json.loads(json.dumps(stored(tree)))
        for node, other in zip(found.pop("nodes"), told.pop("nodes"), strict=True):
            assert node[4] == pytest.approx(other[4], abs=1e-12)
            assert [*node[:4], *node[5:]] == [*other[:4], *other[5:]]
        assert found == told
