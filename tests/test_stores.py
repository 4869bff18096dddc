"""Stores: created by one alone, whole or absent, and a sentence for each thing that can be wrong."""

import concurrent.futures
import uuid

import pytest

from rstar_jax import stores


@pytest.fixture(params=["folder", "memory", pytest.param("s3", marks=pytest.mark.buckets)])
def root(request: pytest.FixtureRequest, tmp_path):
    if request.param == "s3":
        return f"{request.getfixturevalue('s3')}/{uuid.uuid4()}"
    return tmp_path / "store" if request.param == "folder" else f"memory://tests/{uuid.uuid4()}"


def test_an_object_is_written_read_replaced_listed_and_removed(root):
    store = stores.store(root)
    assert store.read("a/1") is None and store.names() == []
    store.write("a/1", b"one")
    store.write("a/2", b"")
    store.write("b", b"three")
    store.write("a/1", b"again")
    assert (store.read("a/1"), store.read("a/2")) == (b"again", b"")
    assert store.names() == ["a/1", "a/2", "b"]
    assert store.names("a/") == ["a/1", "a/2"] and store.names("a/2") == ["a/2"] == store.names("a/2")
    store.remove("a/1")
    store.remove("a/1")
    assert store.names() == ["a/2", "b"] and store.read("a/1") is None


def test_of_many_that_create_one_object_one_does(root):
    store = stores.store(root)
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda n: store.create("claims/1", str(n).encode() * 100), range(8)))
    assert sum(made) == 1
    assert store.read("claims/1") == str(made.index(True)).encode() * 100
    assert store.names() == ["claims/1"]
