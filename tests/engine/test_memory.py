"""How large a pool is: what is asked for, within a share of what is free, in few sizes."""

import dataclasses
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rstar_jax.engine import StepDecoder, memory
from rstar_jax.engine.prefixes import pages_for
from rstar_jax.errors import UserError
from rstar_jax.models import Decoder
from tests.engine.decode_settings import CONFIG, STOPS

MIB = 2**20


def machine(root: Path, files: dict[str, object]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{text}\n")
    return root


MEMINFO = f"MemTotal: {16 * 1024**2} kB\nMemAvailable: {8 * 1024**2} kB"


def test_what_is_free_is_what_the_machine_has(tmp_path: Path) -> None:
    assert memory.free_bytes(machine(tmp_path, {"proc/meminfo": MEMINFO})) == 8 * 2**30
    assert memory.free_bytes(tmp_path / "elsewhere") is None


@pytest.mark.parametrize(
    ("cgroup", "top", "limit", "usage", "idle"),
    [
        ("0::/jobs/one", "sys/fs/cgroup", "memory.max", "memory.current", "inactive_file"),
        (
            "12:cpu:/\n4:cpuset,memory:/jobs/one",
            *("sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes"),
            "total_inactive_file",
        ),
    ],
)
def test_limits_of_groups_count_those_above_included(
    tmp_path: Path, cgroup: str, top: str, limit: str, usage: str, idle: str
) -> None:
    files = {"proc/meminfo": MEMINFO, "proc/self/cgroup": cgroup}
    files |= {f"{top}/jobs/one/{limit}": "max", f"{top}/jobs/one/{usage}": 5}
    files |= {f"{top}/jobs/{limit}": 3 * 2**30, f"{top}/jobs/{usage}": 2 * 2**30}
    files |= {f"{top}/jobs/memory.stat": f"anon 7\n{idle} {512 * MIB}"}
    assert memory.free_bytes(machine(tmp_path, files)) == 2**30 + 512 * MIB
    machine(tmp_path, {f"{top}/jobs/{limit}": 2**30})  # more used than allowed, as limits may be lowered
    assert memory.free_bytes(tmp_path) == 0


def test_inside_a_container_its_own_group_is_the_top(tmp_path: Path) -> None:
    files = {"proc/meminfo": MEMINFO, "proc/self/cgroup": "0::/docker/0123"}
    files |= {"sys/fs/cgroup/memory.max": 2**30, "sys/fs/cgroup/memory.current": 0}
    assert memory.free_bytes(machine(tmp_path, files)) == 2**30


@given(
    page=st.integers(1, 2**20),
    least=st.integers(1, 2000),
    demand=st.integers(0, 2**40),
    free=st.integers(0, 2**40),
)
def test_a_pool_holds_what_is_asked_for_or_its_share(page: int, least: int, demand: int, free: int) -> None:
    pages = memory.pool_pages(page, least, demand, free)
    wanted = max(-(-demand // page), least) if demand else max(memory.LEAST // page, 4 * least)
    allowed = int(memory.SHARE * free) // page
    assert pages <= allowed
    assert pages >= min(least, allowed)  # one text, wherever there is room for it
    assert pages <= max(1.25 * wanted, 4)
    if pages < wanted and pages != least:
        assert max(1.25 * pages, 4) >= allowed  # then the share is what holds it back
    # A few bytes more or less free change no program's shapes, nearly always.
    assert pages in (0, least, allowed) or bin(pages).strip("0b") in ("", "1", "11", "101", "111")


def test_too_little_memory_for_one_text_is_said(policy: Decoder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "free_bytes", lambda: 2**20)
    decoder = StepDecoder(policy, STOPS, dataclasses.replace(CONFIG, context=10_000), seed=0)
    with pytest.raises(UserError, match=r"decode.cache_mb: 0 given, and 0\.2 MB of the free memory may be"):
        decoder.load()


def test_the_demand_makes_the_pool(policy: Decoder) -> None:
    few, many = (StepDecoder(policy, STOPS, CONFIG, seed=0, demand=n) for n in (2_000, 200_000))
    few.load()
    many.load()
    assert 2_000 <= few.held()["pages"] * CONFIG.page_size <= 2_500
    assert 200_000 <= many.held()["pages"] * CONFIG.page_size <= 250_000
    assert many.held()["pages_mb"] > few.held()["pages_mb"]


def test_where_nobody_tells_what_is_free_a_pool_stays_small() -> None:
    """Not Linux: a demand of 40 GB is no reason to take them."""
    page = 2**20
    assert memory.pool_pages(page, 10, 40 * 2**30, None) <= 1.25 * memory.LEAST / page
    assert memory.pool_pages(page, 1000, 40 * 2**30, None) <= 1.25 * 4 * 1000
    assert memory.pool_pages(page, 10, 60 * 2**20, None) >= 60


def test_a_cache_larger_than_what_is_free_is_refused(
    policy: Decoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "free_bytes", lambda: 2**30)
    with pytest.raises(UserError, match=r"decode\.cache_mb: 2,000 given, but 1,024 MB of memory are free"):
        StepDecoder(policy, STOPS, dataclasses.replace(CONFIG, cache_mb=2000), seed=0)
    monkeypatch.setattr(memory, "free_bytes", lambda: None)
    StepDecoder(policy, STOPS, dataclasses.replace(CONFIG, cache_mb=2000), seed=0)


def test_devices_that_share_a_pool_hold_more_pages_together() -> None:
    """Of an accelerator half of what is free, by what a page takes there."""
    stats = {"bytes_limit": 5 * 2**30, "bytes_in_use": 2**30}
    device = types.SimpleNamespace(platform="gpu", memory_stats=lambda: stats)
    mesh = types.SimpleNamespace(devices=np.array([device] * 4))
    pages = []
    for share in (1, 4):
        shape: Any = types.SimpleNamespace(mesh=mesh, token_bytes=2**16, token_bytes_a_device=2**16 // share)
        pages.append(pages_for(shape, CONFIG, demand=0))
    assert pages == [2**31 // 2**16 // CONFIG.page_size, 4 * 2**31 // 2**16 // CONFIG.page_size]
