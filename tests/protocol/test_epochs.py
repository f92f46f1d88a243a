"""Epochs are counted from the manifest; of a chain everybody can check a value, and only its owner knows the next."""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crowdcompute.protocol.epochs import (
    EPOCHS_MAX,
    Chain,
    ChainView,
    Epochs,
    beacon_chain,
    begins_at,
    epoch_at,
    epochs_of,
    last_epoch,
    make_epochs,
)
from crowdcompute.protocol.errors import LocalProtocolError
from crowdcompute.protocol.identity import Identity
from crowdcompute.protocol.manifest import sign_manifest

if TYPE_CHECKING:
    from collections.abc import Callable

    from crowdcompute.protocol.manifest import Manifest

SECRET = bytes(range(32))


@given(st.integers(1, 700), st.data())
def test_every_value_hashes_to_the_one_before_it(length: int, data: st.DataObject) -> None:
    chain = Chain(SECRET, length)
    assert chain.value(length) == SECRET
    epoch = data.draw(st.integers(1, length))
    assert sha256(chain.value(epoch)).digest() == chain.value(epoch - 1)


@given(st.integers(1, 300), st.lists(st.tuples(st.integers(0, 301), st.booleans()), max_size=20))
def test_a_chain_holds_its_values_and_no_others_in_whatever_order_they_are_shown(
    length: int, shown: list[tuple[int, bool]]
) -> None:
    chain = Chain(SECRET, length)
    view = ChainView(chain.value(0), length)
    for epoch, right in shown:
        if epoch > length:
            assert not view.holds(epoch, SECRET)
        else:
            value = chain.value(epoch) if right else sha256(chain.value(epoch)).digest()
            assert view.holds(epoch, value) == right


def test_epochs_are_counted_from_the_creation_and_end_with_the_task(make_manifest: Callable[..., Manifest]) -> None:
    manifest = make_manifest(epochs=Epochs(60, bytes(32)))
    begun = manifest.created_s
    assert [epoch_at(manifest, begun + s) for s in (-500, 0, 59.9, 60, 3_600)] == [0, 0, 0, 1, 60]
    assert epoch_at(manifest, begun + 1e9) == last_epoch(manifest) == 1_440
    assert begins_at(manifest, 60) == begun + 3_600
    assert epoch_at(make_manifest(), begun + 3_600) == last_epoch(make_manifest()) == 0


def test_a_creator_finds_its_chain_again(creator: Identity, make_manifest: Callable[..., Manifest]) -> None:
    code, begun = bytes(32), 1_800_000_000
    epochs = make_epochs(creator, code, begun, begun + 86_400, 60)
    assert beacon_chain(creator, code, begun, epochs_of(begun, begun + 86_400, 60)).value(0) == epochs.anchor
    assert make_epochs(creator, code, begun + 1, begun + 86_401, 60).anchor != epochs.anchor
    assert make_epochs(Identity(SECRET[::-1]), code, begun, begun + 86_400, 60).anchor != epochs.anchor


@pytest.mark.parametrize("days", [1, 45, 46, 3_650])
def test_epochs_are_made_longer_where_they_would_be_too_many(creator: Identity, days: int) -> None:
    epochs = make_epochs(creator, bytes(32), 0, days * 86_400, 60)
    assert epochs_of(0, days * 86_400, epochs.seconds) <= EPOCHS_MAX
    assert epochs.seconds == max(60, -(-days * 86_400 // EPOCHS_MAX))


def test_a_manifest_with_too_many_epochs_is_refused(creator: Identity, make_manifest: Callable[..., Manifest]) -> None:
    long = make_manifest(epochs=Epochs(1, bytes(32)), expires_s=1_800_000_000 + EPOCHS_MAX + 1)
    with pytest.raises(LocalProtocolError, match="epochs"):
        sign_manifest(creator, long)
