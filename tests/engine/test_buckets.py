"""Buckets hold what they are asked to hold, with bounded waste."""

import pytest

from rstar_jax.engine.buckets import cache_bucket, prefill_bucket, score_bucket, suffix_bucket


@pytest.mark.parametrize("bucket", [prefill_bucket, cache_bucket, score_bucket])
def test_buckets_are_monotone_fixed_points_that_waste_little(bucket) -> None:
    sizes = [bucket(length) for length in range(1, 5000)]
    assert all(length <= size <= max(64, 2 * length) for length, size in enumerate(sizes, 1))
    assert sizes == sorted(sizes)
    assert all(bucket(size) == size for size in set(sizes))
    assert len(set(sizes)) < 20


def test_a_prefilled_block_fits_its_cache() -> None:
    assert all(prefill_bucket(n) <= cache_bucket(n) == cache_bucket(prefill_bucket(n)) for n in range(5000))


def test_no_column_lies_beyond_the_context() -> None:
    assert [cache_bucket(n, 1152) for n in (1, 700, 1000, 1025, 1152)] == [64, 768, 1024, 1152, 1152]
    assert prefill_bucket(1100, 1152) == 1152 and cache_bucket(4096, 4096) == 4096
    for context in (20, 64, 100, 500, 1153, 5000):
        sizes = [cache_bucket(n, context) for n in range(1, context + 1)]
        assert all(n <= size <= cache_bucket(n) for n, size in enumerate(sizes, 1))
        assert sizes == sorted(sizes) and sizes[-1] < context + 128


def test_a_suffix_cache_is_no_longer_than_the_longest_step() -> None:
    assert [suffix_bucket(n, 100) for n in (1, 64, 65, 100)] == [64, 64, 100, 100]
    assert suffix_bucket(8, 24) == 24
