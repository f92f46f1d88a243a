from __future__ import annotations

from crowdcompute.protocol.sizing import BatchSizer


def test_a_batch_grows_to_the_time_that_it_is_to_take() -> None:
    sizer = BatchSizer(2.0)
    sizes = []
    for _ in range(4):
        sizes.append(sizer.size(0.0))
        sizer.finished(sizes[-1], 0.1 * sizes[-1])
    assert sizes == [1, 4, 16, 20]


def test_a_batch_takes_as_long_as_it_is_to_take_as_nearly_as_whole_chunks_can() -> None:
    """A chunk that takes a little more than half of that must not halve it."""
    sizer = BatchSizer(1.0)
    sizer.finished(1, 0.51)
    assert sizer.size(0.0) == 2


def test_who_has_just_come_makes_short_batches_and_longer_ones_with_its_age() -> None:
    sizer = BatchSizer(2.0, since=100.0)
    sizer.finished(100, 1.0)
    assert [sizer.size(100.0 + age) for age in (0, 8, 16, 24, 32, 3_600)] == [50, 50, 100, 150, 200, 200]
