"""A folder in a bucket as one of this machine: what is there is here, and what is here comes there."""

import errno
import os
import shutil
import signal
import threading

import jax.numpy as jnp
import pytest

from rstar_jax import mirror, stores
from rstar_jax.errors import UserError
from rstar_jax.launch import signals
from rstar_jax.mirror import fetch, later, workdir
from rstar_jax.mirror.sync import Mirror
from rstar_jax.stores import BucketStore, bucket
from rstar_jax.train.checkpoints import Checkpoints
from tests.mirror.folders import contents, fail, on_machine, write


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
