"""The lock on a folder in a bucket: one run at a time, and one that has lost it writes nothing more."""

import contextlib
import time
from pathlib import Path

import pytest

from rstar_jax import mirror, stores
from rstar_jax.distributed import Host
from rstar_jax.errors import UserError
from rstar_jax.launch import workdirs
from rstar_jax.mirror import lock, sync, workdir
from rstar_jax.mirror.sync import Mirror
from rstar_jax.stores import BucketStore
from tests.mirror.folders import on_machine, write


def test_two_runs_refuse_each_other_and_a_dead_one_does_not(url, monkeypatch, tmp_path):
    store = stores.store(url)
    with mirror.opened(url):
        with (
            pytest.raises(UserError, match=r"another run of this machine is using this folder"),
            mirror.opened(url),
        ):
            pass
        on_machine("other", monkeypatch, tmp_path)
        with pytest.raises(UserError, match=r"a run on .* is using this folder"), mirror.opened(url):
            pass
    assert store.names() == []  # given back
    died = lock.Lock(store, url, "elsewhere", lambda: None)
    died.take()
    died._stop.set()
    write_again, said = mirror.opened(url), []
    monkeypatch.setattr(lock.log, "warning", lambda text, *more: said.append(text % more))
    with write_again:
        assert store.names() == [".lock/000002"]
    assert "Waiting" in said[0]


def test_a_lock_that_is_given_back_while_it_is_watched_may_be_taken_by_another(url, monkeypatch):
    """Whoever watched it looks again, and so sees the other's, which may have the same name."""
    first = lock.Lock(stores.store(url), url, "first", lambda: None)
    first.take()
    read = BucketStore.read

    def read_late(self, name):
        found = read(self, name)
        if found and b"first" in found:
            first.release()
            self.create(".lock/000001", b'{"run": "other", "host": "other", "mirror": ""}')
            self.create(".lock/", b"")  # a folder's mark
            return None
        beat[0] += 1
        return found and found + b" " * beat[0]

    beat = [0]
    monkeypatch.setattr(BucketStore, "read", read_late)
    with pytest.raises(UserError, match="a run on "):
        lock.Lock(BucketStore(url), url, "second", lambda: None).take()


def test_the_same_machine_need_not_wait_for_its_own_dead_run(url, monkeypatch):
    monkeypatch.setattr(lock, "LEASE_S", 1000.0)
    with mirror.opened(url) as folder:
        (mine,) = stores.store(url).names(lock.PREFIX)
        text = stores.store(url).read(mine)
    assert text is not None
    stores.store(url).write(mine, text)  # as a killed process leaves it
    with mirror.opened(url) as again:
        assert again == folder


def test_who_may_not_write_sends_and_removes_nothing(url, tmp_path):
    store, may = BucketStore(url), [True]
    one = Mirror(store, tmp_path / "run", tmp_path / "ledger", lambda: may[0])
    write(tmp_path / "run", a="1", b="2")
    one.push(60)
    may[0] = False
    write(tmp_path / "run", a="changed", c="3")
    (tmp_path / "run" / "b").unlink()
    assert one.turn() and one.turn()
    assert store.names() == ["a", "b"] and store.read("a") == b"1"


def test_who_loses_the_right_to_write_while_files_are_sent_sends_no_more(url, tmp_path):
    store, may = BucketStore(url), [True]
    one = Mirror(store, tmp_path / "run", tmp_path / "ledger", lambda: may[0])
    write(tmp_path / "run", DONE_dot_json="1")
    one.turn()
    write(tmp_path / "run", **{f"a{n}": "1" for n in range(30)})

    def put(path, name):
        may[0] = False
        return BucketStore.put(store, path, name)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(store, "put", put)
        assert one.turn() == 31 and 0 < len(store.names()) <= sync.THREADS
    may[0] = True
    one.push(60)
    assert len(store.names()) == 31


@pytest.mark.usefixtures("signals_are_heeded")
def test_a_lock_that_is_lost_while_the_last_files_are_sent_is_told(url, monkeypatch):
    def put(self, path, name):
        self.create(".lock/000002", b"{}")
        time.sleep(60)

    monkeypatch.setattr(workdir, "EVERY_S", 60.0)
    with pytest.raises(UserError, match="another run has taken this folder"), mirror.opened(url) as folder:
        monkeypatch.setattr(Mirror, "turn", lambda one: put(one._store, folder, ""))


@pytest.mark.usefixtures("signals_are_heeded")
def test_who_has_lost_the_lock_is_stopped_and_sends_nothing_more(url):
    store = stores.store(url)
    with pytest.raises(UserError, match="another run has taken this folder"), mirror.opened(url) as folder:
        store.create(".lock/000002", b"{}")
        write(folder, a="late")
        time.sleep(60)  # the signal ends it
    assert "a" not in store.names() and store.read(".lock/000002") == b"{}"


def test_a_store_without_preconditions_is_refused(url, monkeypatch):
    monkeypatch.setattr(BucketStore, "create", lambda self, name, data: self.write(name, data) or True)
    with pytest.raises(UserError, match="nothing would keep two runs apart"), mirror.opened(url):
        pass


@pytest.mark.parametrize("index", [0, 1])
def test_hosts_wait_for_the_first_ones_lock_before_they_send(index, monkeypatch):
    done = []

    @contextlib.contextmanager
    def opened(*_, **__):
        done.append("opened")
        yield Path()

    monkeypatch.setattr(workdirs.distributed, "here", lambda: Host(index, 2, "name"))
    monkeypatch.setattr(workdirs.distributed, "barrier", lambda _: done.append("met"))
    monkeypatch.setattr(workdirs.mirror, "opened", opened)
    with workdirs.opened("memory://bucket/run", "rounds"):
        assert done == (["met", "opened"] if index else ["opened", "met"])
