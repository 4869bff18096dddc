"""The watch over other hosts, with a store of keys in this process: who stops, why, with which status."""

import itertools
import json
import random
import threading

import pytest

from rstar_jax import stopping
from rstar_jax.distributed import hosts, watch
from rstar_jax.distributed.watch import LOST, PREEMPTED, HostLost, Watch, lost
from rstar_jax.errors import UserError
from rstar_jax.launch import signals
from rstar_jax.launch.processes import leaving_together


class Keys:
    """The coordination service's keys; written once unless told otherwise."""

    def __init__(self):
        self.values, self.lock = {}, threading.Lock()

    def key_value_set(self, key, value, allow_overwrite=False):
        with self.lock:
            if key in self.values and not allow_overwrite:
                raise RuntimeError("ALREADY_EXISTS")
            self.values[key] = value

    def key_value_try_get(self, key):
        with self.lock:
            if key not in self.values:
                raise RuntimeError("NOT_FOUND")
            return self.values[key]

    def key_value_dir_get(self, prefix):
        with self.lock:
            return [(key, value) for key, value in self.values.items() if key.startswith(prefix)]


@pytest.fixture
def told(monkeypatch):
    """The reasons for which a process would stop itself; it was not asked to."""
    reasons = []
    monkeypatch.setattr(watch, "LOOK_S", 0.0)
    monkeypatch.setattr(watch, "GRACE_S", 0.0)
    monkeypatch.setattr(stopping, "_asked", False)
    monkeypatch.setattr(stopping, "stop_myself", reasons.append)
    return reasons


def keep(keys, index=0, looks=3):
    """Keep the watch of a process for some looks."""
    left = iter(range(looks))
    Watch(keys, index, 3, lambda: next(left, None) is None)._keep()


def test_who_is_told_to_stop_takes_all_others_along(told, monkeypatch):
    keys = Keys()
    keep(keys, 0)
    assert not told
    monkeypatch.setattr(stopping, "_asked", True)
    keep(keys, 1)
    assert not told and keys.values["rstar/asked/1"] == "1"
    monkeypatch.setattr(stopping, "_asked", False)
    keep(keys, 2)
    (why,) = told
    assert why.status == PREEMPTED and why.text.startswith("host 1 was told to stop")
    assert why.grace_s < 20


@pytest.mark.parametrize("status", [1, 2, 143])
def test_who_ends_with_an_error_gives_others_its_status(told, status):
    keys = Keys()
    keys.key_value_set("rstar/stop/1", json.dumps({"host": "host 1 (a)", "why": "x: y", "status": status}))
    keep(keys)
    assert told[0].status == status and told[0].text.startswith("host 1 (a) has stopped (x: y)")
    told.clear()
    keep(keys, 1)
    assert not told  # its own


def test_who_is_not_heard_of_is_lost_and_who_is_alive_is_not(told, monkeypatch):
    keys, now = Keys(), [0.0]
    monkeypatch.setattr(watch.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(Watch, "_pause", lambda _: beat())

    def beat():
        now[0] += 10
        keys.key_value_set("rstar/beat/1", str(now[0]), allow_overwrite=True)
        if now[0] < 100:
            keys.key_value_set("rstar/beat/2", str(now[0]), allow_overwrite=True)

    keep(keys, looks=14)
    assert not told and keys.values["rstar/beat/0"] == "14"
    keep(keys, looks=10)
    (why,) = told
    assert why.status == LOST and why.text.startswith("host 2 has not been heard of for 60 s")


def test_who_was_suspended_itself_gives_others_up_no_sooner(told, monkeypatch):
    keys, now, looks = Keys(), [0.0], itertools.count()
    monkeypatch.setattr(watch.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(Watch, "_pause", lambda _: pause())

    def pause():
        suspended = next(looks) == 4
        now[0] += 70 if suspended else 10  # with the service in it, through which others could not beat
        for index in () if suspended else (1, 2):
            keys.key_value_set(f"rstar/beat/{index}", str(now[0]), allow_overwrite=True)

    keep(keys, looks=12)
    assert not told


@pytest.mark.parametrize("gone", [True, False])
def test_the_leader_waits_for_those_that_are_alive(monkeypatch, gone):
    keys, now = Keys(), [0.0]
    monkeypatch.setattr(hosts, "_run", hosts._Run(hosts.Host(0, 3), keys))
    monkeypatch.setattr(hosts.time, "monotonic", lambda: now[0])
    for index in range(3):
        keys.key_value_set(f"rstar/beat/{index}", "1")

    def sleep(_):
        now[0] += 0.5
        if not gone:
            keys.key_value_set("rstar/beat/2", str(now[0]), allow_overwrite=True)
        if now[0] == 3.0:
            keys.key_value_set("rstar/stop/1", "{}")
        if now[0] == 10.0:
            keys.key_value_set("rstar/stop/2", "{}")

    monkeypatch.setattr(hosts.time, "sleep", sleep)
    hosts.stop("x", 143)
    assert now[0] == (6.0 if gone else 10.0)
    assert json.loads(keys.values["rstar/stop/0"])["status"] == 143


def test_a_process_that_was_asked_itself_is_not_asked_again(told, monkeypatch):
    keys = Keys()
    keys.key_value_set("rstar/asked/1", "1")
    monkeypatch.setattr(stopping, "_asked", True)
    keep(keys)
    assert not told


def test_whoever_ends_in_order_leaves_the_service_before(monkeypatch):
    monkeypatch.setattr(watch, "LOOK_S", 600.0)
    keys = Keys()
    ends = threading.Event()
    kept = Watch(keys, 0, 1, ends.is_set)
    kept.start()
    while "rstar/beat/0" not in keys.values:
        pass
    ends.set()
    kept.end()
    assert not [thread for thread in threading.enumerate() if thread.name == "hosts"]


def test_errors_of_a_connection_say_that_a_host_was_lost():
    gloo = "UNKNOWN: Gloo AllGather failed: [pair.cc:538] Read error: Connection reset by peer"
    assert "another host was lost" in str(lost(ValueError(gloo)))
    assert lost(ValueError("shapes differ")) is None and lost(KeyError("Gloo")) is None
    unsaved = UserError("state: the training state cannot be saved")
    assert lost(unsaved) is None
    unsaved.__cause__ = ValueError(gloo)  # by the other end that is gone, and by no full disk
    assert "another host was lost" in str(lost(unsaved))


def ending(index, status, follows=False):
    why = {"host": f"host {index} (a)", "why": "x: y", "status": status, "follows": follows}
    return f"rstar/stop/{index}", json.dumps(why)


@pytest.mark.parametrize(
    ("there", "status"),
    [
        ([ending(1, 2)], 2),
        ([("rstar/asked/2", "2")], PREEMPTED),
        # Two have heard of the first one's connection, and of its reason, sooner.
        ([ending(1, LOST, follows=True), ending(2, 1)], 1),
        ([ending(1, LOST, follows=True)], None),  # nor does it know more
        ([], None),
    ],
)
@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize("within", [False, True])
def test_a_reason_counts_before_the_lost_connection_that_is_heard_of_first(
    monkeypatch, there, status, late, within
):
    keys, now = Keys(), [0.0]

    def sleep(seconds):
        now[0] += seconds
        if now[0] > 0.5:
            keys.values |= dict(there)

    monkeypatch.setattr(stopping, "_asked", False)
    monkeypatch.setattr(stopping, "_reason", None)
    monkeypatch.setattr(watch.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(watch.time, "sleep", sleep)
    sleep(0.0 if late else 1.0)
    began = now[0]
    monkeypatch.setattr(hosts, "_run", hosts._Run(hosts.Host(0, 3), keys, Watch(keys, 0, 3, lambda: False)))
    with pytest.raises(HostLost if status is None else signals.Terminated) as ended, leaving_together():
        broken = ValueError("UNKNOWN: Gloo AllGather failed: Connection closed by peer")
        if within:
            raise UserError("state: the training state cannot be saved") from broken
        raise broken
    if status is None:
        assert now[0] - began >= watch.GRACE_S  # and then some, for the others
    else:
        assert signals.status(ended.value) == status and now[0] - began < 1.0
    told = json.loads(keys.values["rstar/stop/0"])
    assert told["status"] == (status or LOST) and told["follows"]


def test_among_those_that_stop_because_of_each_other_the_first_reason_is_told(told):
    keys = Keys()
    for index, status, follows in ((1, LOST, True), (2, 2, False)):
        keys.key_value_set(*ending(index, status, follows))
    keep(keys)
    assert told[0].status == 2 and told[0].text.startswith("host 2 (a) has stopped (x: y)")


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("in_flight", [0, 1])
def test_all_end_after_the_same_step(monkeypatch, seed, in_flight):
    """Processes in threads, whose steps end when all have begun them; some wish to end at some time. Each
    asks when it has begun a step, and the one `in_flight` steps before has ended."""
    draw, count, ended = random.Random(seed), 3, []
    monkeypatch.setattr(hosts, "_run", hosts._Run(hosts.Host(0, count), Keys()))
    begun = [[] for _ in range(40)]

    def process(wishes_at):
        for step in range(1, 40):
            begun[step].append(wishes_at)
            while step > in_flight and len(begun[step - in_flight]) < count:
                threading.Event().wait(0.0001)
            if draw.random() < 0.5:
                threading.Event().wait(0.001)
            if hosts.all_end(step, step >= wishes_at, in_flight):
                return ended.append(step)
        ended.append(None)

    wishes = [draw.randint(1, 20) if draw.random() < 0.7 else 99 for _ in range(count)]
    threads = [threading.Thread(target=process, args=(wish,)) for wish in wishes]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(ended) == count and len(set(ended)) == 1
    first = min(wishes)
    if first == 99:
        assert ended[0] is None
    else:  # one that is so many steps ahead may have named a step before
        assert first + 1 + in_flight <= ended[0] <= first + 1 + 2 * in_flight
