"""A folder in a bucket as one of this machine: what is there is here, and what is here comes there."""

import contextlib
import errno
import os
import shutil
import signal
import threading
import time
import uuid
from pathlib import Path

import jax.numpy as jnp
import pytest

from rstar_jax import mirror, stores
from rstar_jax.distributed import Host
from rstar_jax.errors import UserError
from rstar_jax.launch import signals, workdirs
from rstar_jax.mirror import fetch, later, lock, sync, workdir
from rstar_jax.mirror.sync import Mirror
from rstar_jax.stores import BucketStore, bucket
from rstar_jax.train.checkpoints import Checkpoints


@pytest.fixture(params=["memory", *(pytest.param(name, marks=pytest.mark.buckets) for name in ("s3", "gs"))])
def url(request: pytest.FixtureRequest, monkeypatch, tmp_path) -> str:
    """A folder's URL in an empty bucket; this machine has no mirror of it."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "first"))
    monkeypatch.setattr(lock, "BEAT_S", 0.05)
    monkeypatch.setattr(lock, "LEASE_S", 0.5)
    root = "memory://bucket" if request.param == "memory" else request.getfixturevalue(request.param)
    return f"{root}/{uuid.uuid4()}/run"


def on_machine(name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / name))
    fetch.cache_clear()


def write(folder: Path, **files: str) -> None:
    for name, text in files.items():
        path = folder / name.replace("__", "/").replace("_dot_", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def contents(folder: Path) -> dict[str, str]:
    return {p.relative_to(folder).as_posix(): p.read_text() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_a_run_goes_on_on_another_machine(url, monkeypatch, tmp_path):
    with mirror.opened(url) as folder:
        assert folder.name == "run"
        write(folder, a="1", search__trees="2", search__DONE_dot_json="3", model__m_dot_safetensors="weights")
    store = stores.store(url)
    assert store.names() == ["a", "model/m.safetensors", "search/DONE.json", "search/trees"]
    on_machine("other", monkeypatch, tmp_path)
    with mirror.opened(url) as other:
        assert other != folder
        assert contents(other) == {"a": "1", "search/trees": "2", "search/DONE.json": "3"}
        assert mirror.size_of(other / "model/m.safetensors") == len("weights")
        mirror.need(other / "model")
        assert (other / "model/m.safetensors").read_text() == "weights"
        (other / "search/trees").unlink()
        write(other, a="changed", search__more="4")
    assert store.names() == ["a", "model/m.safetensors", "search/DONE.json", "search/more"]
    assert store.read("a") == b"changed"


def test_what_a_killed_run_had_not_sent_is_sent_by_the_next_start(url, monkeypatch, tmp_path):
    with mirror.opened(url) as folder:
        write(folder, a="1", b="2")
    write(folder, b="changed", c="3")  # after its last turn
    (folder / "a").unlink()
    with mirror.opened(url) as again:
        assert contents(again) == {
            "a": "1",
            "b": "changed",
            "c": "3",
        }
    assert stores.store(url).read("b") == b"changed"
    on_machine("other", monkeypatch, tmp_path)
    with mirror.opened(url) as other:
        write(other, b="elsewhere")
    on_machine("first", monkeypatch, tmp_path)
    write(folder, b="late")
    with mirror.opened(url) as again:  # the run went on elsewhere
        assert (again / "b").read_text() == "elsewhere"


def test_a_file_that_an_earlier_process_had_removed_may_have_been_half_of_a_move(url):
    with mirror.opened(url) as folder:
        write(folder, a="1")
    (folder / "a").unlink()
    with mirror.opened(url) as again:
        assert contents(again) == {"a": "1"}


def test_weights_that_somebody_removed_here_stay_in_the_bucket(url):
    """As by who makes room on the disk: they were not removed by a run."""
    with mirror.opened(url) as folder:
        write(folder, a="1", model__m_dot_safetensors="weights")
    shutil.rmtree(folder)
    for _ in range(2):
        with mirror.opened(url) as again:
            assert contents(again) == {"a": "1"}
    assert stores.store(url).read("model/m.safetensors") == b"weights"


def test_a_closed_mirror_writes_into_no_file_that_has_its_number_now(url, tmp_path):
    one = Mirror(BucketStore(url), tmp_path / "run", tmp_path / "ledger", lambda: True)
    write(tmp_path / "run", a="1")
    one.close()
    with open(tmp_path / "other", "wb") as other:
        one.turn()  # as of a thread that a signal left at it
        assert not os.fstat(other.fileno()).st_size


def test_what_the_system_refuses_a_mirror_is_told(url, tmp_path):
    folder, store = tmp_path / "run", BucketStore(url)
    one = Mirror(store, folder, tmp_path / "ledger", lambda: True)
    store.write("a", b"1")
    (folder / "a").mkdir(parents=True)
    with pytest.raises(UserError, match=r"run/a: cannot be written \(Is a directory\)"):
        one.pull(start=True)
    assert contents(folder) == {}
    write(folder, b="1")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "write", lambda *_: fail(OSError(errno.ENOSPC, "full")))
        with pytest.raises(UserError, match="ledger: the disk is full"):
            one.turn()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "scandir", lambda _: fail(PermissionError(errno.EACCES, "no")))
        with pytest.raises(UserError, match="run: cannot be read"):
            one.turn()


@pytest.mark.parametrize("name", ["lock", "id", "ledger.jsonl"])
def test_a_folder_may_have_any_name(name, url, monkeypatch, tmp_path):
    with mirror.opened(f"{url}/{name}") as folder:
        write(folder, a="1")
    assert contents(fetch(f"{url}/{name}")) == {"a": "1"}


def test_a_stage_is_done_there_when_all_it_wrote_is_there(url, tmp_path):
    """Its manifest is sent last, and a checkpoint's, without which none of the checkpoint is fetched."""
    folder, store = tmp_path / "run", BucketStore(url)
    one = Mirror(store, folder, tmp_path / "ledger", lambda: True)
    write(folder, search__DONE_dot_json="1", search__a="2", checkpoints__7__state="3")
    write(folder, checkpoints__7___CHECKPOINT_METADATA="4")
    one.turn()
    assert store.names() == ["search/a"] if url.startswith("gs:") else ["checkpoints/7/state", "search/a"]
    other = Mirror(store, tmp_path / "other", tmp_path / "other-ledger", lambda: True)
    other.pull(start=True)
    assert contents(tmp_path / "other") == {"search/a": "2"}
    mirror.need(tmp_path / "other")
    assert contents(tmp_path / "other") == {"search/a": "2"}
    one.turn()
    other.pull()
    mirror.need(tmp_path / "other" / "checkpoints")
    if url.startswith("gs:"):  # orbax saves there by itself
        assert contents(tmp_path / "other") == {"search/a": "2", "search/DONE.json": "1"}
    else:
        assert contents(tmp_path / "other") == contents(folder)


def test_a_training_goes_on_on_another_machine(url, monkeypatch, tmp_path):
    state, identity = {"w": jnp.arange(4.0)}, {"of": "a test"}
    with mirror.opened(url) as folder:
        keeper = Checkpoints(folder / "policy" / "checkpoints", identity)
        keeper.save(3, state, {"step": 3})
        keeper.close()
    on_machine("other", monkeypatch, tmp_path)
    with mirror.opened(url) as other:
        mirror.need(other / "policy")
        keeper = Checkpoints(other / "policy" / "checkpoints", identity)
        step, restored, meta = keeper.restore({"w": jnp.zeros(4)})
        assert (step, meta, restored["w"].tolist()) == (3, {"step": 3}, [0, 1, 2, 3])
        keeper.close()
        stores.remove_folder(other / "policy" / "checkpoints")
    assert stores.store(url).names() == []


def test_nothing_is_removed_there_before_what_replaces_it_is_there(url, tmp_path, monkeypatch):
    folder, store = tmp_path / "run", BucketStore(url)
    one = Mirror(store, folder, tmp_path / "ledger", lambda: True)
    write(folder, tree="1")
    one.push(60)
    (folder / "tree").rename(folder / "shard")
    sent = []
    monkeypatch.setattr(
        store, "put", lambda path, name: sent.append(name) or BucketStore.put(store, path, name)
    )
    monkeypatch.setattr(
        store, "remove", lambda name: sent.append(f"-{name}") or BucketStore.remove(store, name)
    )
    one.push(60)
    assert sent == ["shard", "-tree"] and store.names() == ["shard"]


def test_hosts_of_a_run_see_what_the_others_sent(url, tmp_path):
    folders = [tmp_path / "0", tmp_path / "1"]
    hosts = [Mirror(BucketStore(url), f, tmp_path / f"{f.name}.ledger", lambda: True) for f in folders]
    for host, folder in zip(hosts, folders, strict=True):
        host.pull(start=True)
        write(folder, **{f"search__{folder.name}": "tree"})
        host.push(60)
    hosts[0].pull()
    assert contents(folders[0]) == contents(folders[1]) == {"search/0": "tree", "search/1": "tree"}
    (folders[1] / "search/1").unlink()
    hosts[1].push(60)
    hosts[0].pull()
    assert contents(folders[0]) == {"search/0": "tree"} == contents(folders[1])


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


@pytest.fixture
def signals_are_heeded():
    def stop(*_: object) -> None:
        raise signals.Terminated

    before = signal.signal(signal.SIGTERM, stop)
    yield
    signal.signal(signal.SIGTERM, before)


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
def test_a_signal_does_not_wait_for_weights(tmp_path):
    fetched, go_on = [], threading.Event()
    for n in range(100):
        later.postpone(tmp_path / f"{n}", 1, lambda n=n: go_on.wait(60) and fetched.append(n))
    threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGTERM)).start()
    with pytest.raises(signals.Terminated):
        mirror.need(tmp_path)
    assert not fetched
    go_on.set()
    for n in range(100):
        later.forget(tmp_path / f"{n}")


@pytest.mark.usefixtures("signals_are_heeded")
def test_who_has_lost_the_lock_is_stopped_and_sends_nothing_more(url):
    store = stores.store(url)
    with pytest.raises(UserError, match="another run has taken this folder"), mirror.opened(url) as folder:
        store.create(".lock/000002", b"{}")
        write(folder, a="late")
        time.sleep(60)  # the signal ends it
    assert "a" not in store.names() and store.read(".lock/000002") == b"{}"


def fail(error: Exception):
    raise error


def test_a_bucket_that_does_not_answer_stops_no_run_and_loses_nothing(url, monkeypatch, caplog):
    monkeypatch.setattr(bucket, "_FIRST_WAIT_S", 0.0)
    put = BucketStore.put

    def no_answer(self, path, name):
        if path.name == "b":
            return self.ask(name, lambda: fail(ConnectionResetError("reset")))
        return put(self, path, name)

    told = r"1 files could not be sent yet.*reset.*asked 6 times"
    with pytest.raises(UserError, match=told), mirror.opened(url) as folder:
        monkeypatch.setattr(BucketStore, "put", no_answer)
        write(folder, a="1", b="2")
        mirror.push()
        assert "could not be sent yet" in caplog.text
    assert stores.store(url).names() == ["a"]
    monkeypatch.setattr(BucketStore, "put", put)
    with mirror.opened(url):
        pass
    assert stores.store(url).read("b") == b"2"


def test_a_bucket_that_refuses_stops_the_run_at_the_end_of_a_stage(url, monkeypatch):
    def refuse(self, path, name):
        return self.ask(name, lambda: fail(PermissionError("Access Denied")))

    with pytest.raises(UserError, match="no right to do this there"), mirror.opened(url) as folder:
        monkeypatch.setattr(BucketStore, "put", refuse)
        write(folder, a="1")
        mirror.push()


def test_what_is_left_of_a_stage_that_another_machine_has_done_goes(url, monkeypatch, tmp_path):
    with mirror.opened(url) as folder:
        write(folder, search__a="1")
    write(folder, search__b="not sent", curate__c="not sent")
    on_machine("other", monkeypatch, tmp_path)
    with mirror.opened(url) as other:
        write(other, search__shard="1", search__DONE_dot_json="{}")
        (other / "search/a").unlink()
    on_machine("first", monkeypatch, tmp_path)
    with mirror.opened(url) as again:
        assert contents(again) == {"search/shard": "1", "search/DONE.json": "{}", "curate/c": "not sent"}


def test_a_store_without_preconditions_is_refused(url, monkeypatch):
    monkeypatch.setattr(BucketStore, "create", lambda self, name, data: self.write(name, data) or True)
    with pytest.raises(UserError, match="nothing would keep two runs apart"), mirror.opened(url):
        pass


@pytest.mark.usefixtures("signals_are_heeded")
def test_a_process_that_is_told_to_end_does_not_wait_for_a_bucket(url, monkeypatch):
    monkeypatch.setattr(workdir, "SIGNAL_S", 0.2)
    monkeypatch.setattr(workdir, "EVERY_S", 60.0)
    answered = threading.Event()
    with pytest.raises(signals.Terminated), mirror.opened(url) as folder:
        monkeypatch.setattr(BucketStore, "put", lambda *_: answered.wait(60) and fail(UserError("late")))
        write(folder, a="1")
        signal.raise_signal(signal.SIGTERM)
    assert not answered.is_set() and stores.store(url).names() == [".lock/000001"]
    answered.set()


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
