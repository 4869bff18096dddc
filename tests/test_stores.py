"""Stores: created by one alone, whole or absent, and a sentence for each thing that can be wrong."""

import concurrent.futures
import errno
import itertools
import os
import sys
import uuid
from pathlib import Path

import pytest

from rstar_jax import stores
from rstar_jax.errors import UserError
from rstar_jax.stores import bucket


@pytest.fixture(
    params=["folder", "memory", *(pytest.param(name, marks=pytest.mark.buckets) for name in ("s3", "gs"))]
)
def root(request: pytest.FixtureRequest, tmp_path):
    if request.param in ("s3", "gs"):
        return f"{request.getfixturevalue(request.param)}/{uuid.uuid4()}"
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


@pytest.mark.parametrize("number", [errno.EPERM, errno.ENOSYS, errno.EOPNOTSUPP])
def test_a_folder_without_links_has_one_that_creates_too(number, tmp_path, monkeypatch):
    def no_links(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "link", no_links)
    store = stores.store(tmp_path)
    assert store.create("claims/1", b"1") and not store.create("claims/1", b"2")
    assert store.read("claims/1") == b"1" and store.names() == ["claims/1"]


@pytest.mark.buckets
@pytest.mark.parametrize("server", ["s3", "gs"])
def test_only_names_that_begin_so_are_listed(server, request):
    store = stores.BucketStore(f"{request.getfixturevalue(server)}/{uuid.uuid4()}")
    for name in ("a/1", "a/2", "b.jsonl"):
        store.write(name, b"")
    find, found = store.files.find, []
    store.files.find = lambda *given, **more: found.append(find(*given, **more)) or found[-1]
    try:
        assert store.names("b") == ["b.jsonl"] and len(found[0]) == 1
    finally:
        del store.files.find


def test_a_request_that_fails_for_a_while_is_made_again_and_then_told(monkeypatch):
    monkeypatch.setattr(bucket, "_FIRST_WAIT_S", 0.0)
    store, failures = (
        stores.BucketStore("memory://bucket/flaky"),
        iter([ConnectionResetError(), TimeoutError()]),
    )
    write = store.files.pipe_file

    def flaky(*arguments, **options):
        for failure in failures:
            raise failure
        write(*arguments, **options)

    monkeypatch.setattr(store.files, "pipe_file", flaky)
    store.write("a", b"1")
    assert store.read("a") == b"1"
    failures = itertools.repeat(ConnectionResetError("reset by peer"))
    with pytest.raises(stores.Unreachable, match=r"flaky/a: no answer \(reset by peer\), asked 6 times"):
        store.write("a", b"2")
    assert store.read("a") == b"1"


class Refused(Exception):
    """As gcsfs words it."""

    def __init__(self, code):
        self.code = code
        super().__init__(f"Anonymous caller does not have storage.objects.create access, {code}")


NoCredentialsError = type("NoCredentialsError", (Exception,), {})


@pytest.mark.parametrize(
    "failure, told",
    [
        (
            PermissionError("Access Denied"),
            "no right to do this there .Access Denied.* delete objects of memory://b ",
        ),
        (OSError("Forbidden: https://x\nno storage.objects.create access"), "no right to do this there"),
        (Refused(401), "no credentials that it takes"),
        (NoCredentialsError("Unable to locate credentials"), "no credentials were found on this machine"),
        (FileNotFoundError("The specified bucket does not exist"), "no bucket memory://b, or nothing there"),
        (OSError(errno.EINVAL, "The specified bucket is not valid"), "refused .*Correct the name"),
    ],
)
def test_what_no_further_try_can_mend_is_told_at_once(monkeypatch, failure, told):
    store, tries = stores.BucketStore("memory://b/run"), []

    def refuse(*_, **__):
        tries.append(1)
        raise failure

    monkeypatch.setattr(store.files, "pipe_file", refuse)
    with pytest.raises(UserError, match=told):
        store.create("a", b"")
    assert len(tries) == 1


@pytest.mark.parametrize(("scheme", "package", "extra"), [("gs", "gcsfs", "gs"), ("s3", "s3fs", "s3")])
def test_a_missing_extra_is_named(monkeypatch, scheme, package, extra):
    monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.delitem(sys.modules["fsspec.registry"]._registry, scheme, raising=False)
    monkeypatch.setattr(bucket, "_filesystem", bucket._filesystem.__wrapped__)
    with pytest.raises(UserError, match=rf"{scheme}://: .*pip install 'rstar-jax\[{extra}\]'"):
        stores.store(f"{scheme}://bucket/run")


@pytest.mark.parametrize(
    "given, expected",
    [
        ("runs/mine", None),
        ("/runs/a:b", None),
        ("suite:240", None),
        ("gs://bucket/run/", "gs://bucket/run"),
        ("gs:/bucket/run", "gs://bucket/run"),  # what Path makes of it
        ("S3://bucket", "s3://bucket"),
    ],
)
def test_a_url_is_known_from_a_path(given, expected):
    assert stores.url_of(given) == expected == stores.url_of(Path(given))


@pytest.mark.parametrize(
    "given", ["ftp://host/run", "gs://", "gs://bucket/../other", "http://host/x", "s3://b/x?versionId=3"]
)
def test_a_url_that_means_no_place_in_a_bucket_is_refused(given):
    with pytest.raises(UserError, match="expected"):
        stores.url_of(given)


@pytest.mark.buckets
def test_missing_buckets_and_credentials_are_told_as_real_clients_find_them(s3, gs, monkeypatch):
    monkeypatch.setattr(bucket, "_FIRST_WAIT_S", 0.0)
    for url in (f"{s3}-none/run", f"{gs}-none/run"):
        with pytest.raises(UserError, match=f"no bucket {url[:-4]}"):
            stores.store(url).create("a", b"")
    stores.require(f"{s3}/run")
    stores.require(f"{gs}/run")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/none")
    monkeypatch.setattr(bucket, "_filesystem", lambda _: s3fs_alone())
    with pytest.raises(UserError, match=r"s3://bucket: no credentials were found .* aws configure"):
        stores.store(f"{s3}/run").write("a", b"")


def s3fs_alone():
    import s3fs

    return s3fs.S3FileSystem(use_listings_cache=False, skip_instance_cache=True)
