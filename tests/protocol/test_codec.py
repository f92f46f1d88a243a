from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import msgpack  # type: ignore[import-untyped]
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Meta

from crowdcompute.protocol.codec import U32, U53, Body, Bytes32, decode, encode
from crowdcompute.protocol.errors import RemoteProtocolError
from crowdcompute.protocol.manifest import Manifest
from crowdcompute.protocol.records import Checkpoint, Commit, Join, Lease, Signed

if TYPE_CHECKING:
    from collections.abc import Callable


class Sample(Body, frozen=True):
    """One field of every sort that records are made of."""

    digest: Bytes32
    count: U32
    size: U53
    share: float
    text: Annotated[str, Meta(max_length=20)]
    maybe: bytes | None
    runs: tuple[tuple[U32, U32], ...]


SAMPLES = st.builds(
    Sample,
    digest=st.binary(min_size=32, max_size=32),
    count=st.integers(0, 2**32 - 1),
    size=st.integers(0, 2**53 - 1),
    share=st.floats(allow_nan=False),
    text=st.text(max_size=20),
    maybe=st.none() | st.binary(max_size=300),
    runs=st.lists(st.tuples(st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1)), max_size=20).map(tuple),
)

ZERO = bytes(32)
GOOD: list[Any] = [ZERO, 1, 2, 0.5, "text", None, [[1, 2]]]


def plain(value: Any) -> Any:
    return [plain(each) for each in value] if isinstance(value, tuple) else value


@given(SAMPLES)
def test_what_is_encoded_decodes_to_the_same_value(sample: Sample) -> None:
    assert decode(encode(sample), Sample) == sample


@given(SAMPLES)
def test_an_independent_library_writes_the_same_bytes(sample: Sample) -> None:
    fields = [plain(getattr(sample, name)) for name in sample.__struct_fields__]
    assert encode(sample) == msgpack.packb(fields)
    assert msgpack.unpackb(encode(sample)) == fields


REFUSED: list[tuple[str, bytes]] = [
    ("nothing", b""),
    ("a truncated value", msgpack.packb(GOOD)[:-1]),
    ("a byte after the value", msgpack.packb(GOOD) + b"\0"),
    ("a field too few", msgpack.packb(GOOD[:-1])),
    ("a field too many", msgpack.packb([*GOOD, 1])),
    ("a map instead of an array", msgpack.packb(dict(zip(Sample.__struct_fields__, GOOD, strict=True)))),
    ("a short digest", msgpack.packb([ZERO[:31], *GOOD[1:]])),
    ("text for bytes", msgpack.packb(["0" * 32, *GOOD[1:]])),
    ("bytes for text", msgpack.packb([*GOOD[:4], b"text", *GOOD[5:]])),
    ("a negative count", msgpack.packb([ZERO, -1, *GOOD[2:]])),
    ("a count beyond 32 bits", msgpack.packb([ZERO, 2**32, *GOOD[2:]])),
    ("a size beyond 53 bits", msgpack.packb([ZERO, 1, 2**53, *GOOD[3:]])),
    ("a float for a count", msgpack.packb([ZERO, 1.0, *GOOD[2:]])),
    ("a boolean for a count", msgpack.packb([ZERO, True, *GOOD[2:]])),
    ("text that is too long", msgpack.packb([*GOOD[:4], "x" * 21, *GOOD[5:]])),
    ("text that is not UTF-8", msgpack.packb([*GOOD[:4], "text", *GOOD[5:]]).replace(b"text", b"te\xff\xfe")),
    ("a lone surrogate", msgpack.packb([*GOOD[:4], "text", *GOOD[5:]]).replace(b"\xa4text", b"\xa3\xed\xa0\x80")),
    ("a run of three", msgpack.packb([*GOOD[:6], [[1, 2, 3]]])),
    ("an array of four thousand million", b"\xdd\xff\xff\xff\xff"),
    ("four thousand million bytes", b"\x97\xc6\xff\xff\xff\xff"),
    ("nesting without end", b"\x91" * 100_000),
    ("an extension type", b"\xd4\x01\x00"),
    ("an extension type for bytes", msgpack.packb([msgpack.ExtType(1, ZERO), *GOOD[1:]])),
    ("nothing for a digest", msgpack.packb([None, *GOOD[1:]])),
    ("nothing for a count", msgpack.packb([ZERO, None, *GOOD[2:]])),
    ("text for a count", msgpack.packb([ZERO, "1", *GOOD[2:]])),
    ("text for a float", msgpack.packb([*GOOD[:3], "0.5", *GOOD[4:]])),
    ("a boolean for a float", msgpack.packb([*GOOD[:3], True, *GOOD[4:]])),
    ("a whole float for a size", msgpack.packb([ZERO, 1, 2.0, *GOOD[3:]])),
    ("a boolean for nothing", msgpack.packb([*GOOD[:5], False, *GOOD[6:]])),
    ("a map for runs", msgpack.packb([*GOOD[:6], {}])),
    ("an array for a number", msgpack.packb([ZERO, [1], *GOOD[2:]])),
    ("text of 21 characters of four bytes", msgpack.packb([*GOOD[:4], "\U0001f600" * 21, *GOOD[5:]])),
    ("text in an overlong form", msgpack.packb([*GOOD[:4], "text", *GOOD[5:]]).replace(b"\xa4text", b"\xa2\xc0\xaf")),
    ("text cut within a character", msgpack.packb([*GOOD[:4], "é", *GOOD[5:]]).replace(b"\xa2\xc3\xa9", b"\xa1\xc3")),
    ("a head that means nothing", b"\xc1"),
]

# One message, each element in every form a writer might have chosen: only the first is what ours write.
DIGEST_FORMS = [b"\xc4\x20" + ZERO, b"\xc5\x00\x20" + ZERO, b"\xc6\x00\x00\x00\x20" + ZERO]
ONE_FORMS = [bytes.fromhex(form) for form in ("01", "cc01", "cd0001", "ce00000001", "cf0000000000000001")]
ONE_FORMS += [bytes.fromhex(form) for form in ("d001", "d10001", "d200000001", "d30000000000000001")]
HALF_FORMS = [bytes.fromhex(form) for form in ("cb3fe0000000000000", "ca3f000000")]
TEXT_FORMS = [b"\xa4text", b"\xd9\x04text", b"\xda\x00\x04text", b"\xdb\x00\x00\x00\x04text"]
RUNS_FORMS = [bytes.fromhex(form) for form in ("91920102", "dc0001920102", "dd00000001920102", "91dc00020102")]
FORMS = [DIGEST_FORMS, ONE_FORMS, ONE_FORMS, HALF_FORMS, TEXT_FORMS, [b"\xc0"], RUNS_FORMS]
OTHER_FORMS = [
    head + b"".join([*(first for first, *_ in FORMS[:place]), form, *(first for first, *_ in FORMS[place + 1 :])])
    for head in (b"\x97", b"\xdc\x00\x07")
    for place, forms in enumerate(FORMS)
    for form in forms
]


def test_a_reader_takes_every_form_and_a_writer_chooses_the_shortest() -> None:
    sample = Sample(ZERO, 1, 1, 0.5, "text", None, ((1, 2),))
    assert encode(sample) == OTHER_FORMS[0]
    assert {decode(form, Sample) for form in OTHER_FORMS} == {sample}


@pytest.mark.parametrize(("wire", "share"), [(b"\x01", 1.0), (b"\xff", -1.0), (b"\xcf" + b"\xff" * 8, 2.0**64)])
def test_an_integer_is_a_float_where_a_float_is_wanted(wire: bytes, share: float) -> None:
    assert decode(OTHER_FORMS[0].replace(HALF_FORMS[0], wire), Sample).share == share


@pytest.mark.parametrize("data", [case[1] for case in REFUSED], ids=[case[0] for case in REFUSED])
def test_bytes_of_another_shape_are_refused(data: bytes) -> None:
    with pytest.raises(RemoteProtocolError, match="not a valid Sample"):
        decode(data, Sample)


@pytest.mark.parametrize("kind", [Sample, Signed, Join, Lease, Commit, Checkpoint, Manifest])
@given(data=st.binary(max_size=200))
def test_any_bytes_give_a_value_or_a_remote_protocol_error(kind: type[Any], data: bytes) -> None:
    try:
        value = decode(data, kind)
    except RemoteProtocolError:
        return
    assert isinstance(value, kind)


JUNK = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats()
    | st.text(max_size=5)
    | st.binary(max_size=40),
    lambda inner: st.lists(inner, max_size=8) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=12,
)


@pytest.mark.parametrize("kind", [Sample, Signed, Join, Lease, Commit, Manifest])
@given(junk=JUNK)
def test_any_wellformed_message_gives_a_value_or_a_remote_protocol_error(kind: type[Any], junk: Any) -> None:
    try:
        value = decode(msgpack.packb(junk), kind)
    except RemoteProtocolError:
        return
    assert isinstance(value, kind)


def test_the_codec_vectors_hold(expect_vectors: Callable[[str, object], None]) -> None:
    samples = [
        Sample(ZERO, 0, 0, 0.0, "", None, ()),
        Sample(b"\xff" * 32, 2**32 - 1, 2**53 - 1, 1e-4, "Größe × 2", b"", ((0, 1), (127, 128), (65_535, 65_536))),
        Sample(bytes(range(32)), 255, 2**53 - 2, -0.5, "x" * 20, bytes(300), tuple((n, n) for n in range(17))),
    ]
    expect_vectors(
        "codec",
        {
            "about": (
                "MessagePack of [digest: 32 bytes, count: u32, size: u53, share: float, text: at most 20 characters, "
                "maybe: bytes or nil, runs: array of pairs of u32]; see protocol/spec/codec.md. `size` is a string, "
                "because JSON numbers lose digits in JavaScript."
            ),
            "accepted": [
                {
                    "digest": sample.digest.hex(),
                    "count": sample.count,
                    "size": str(sample.size),
                    "share": sample.share,
                    "text": sample.text,
                    "maybe": None if sample.maybe is None else sample.maybe.hex(),
                    "runs": plain(sample.runs),
                    "bytes": encode(sample).hex(),
                }
                for sample in samples
            ],
            "other_forms": [{"bytes": form.hex(), "shortest": OTHER_FORMS[0].hex()} for form in OTHER_FORMS[1:]],
            "refused": [{"name": name, "bytes": data.hex()} for name, data in REFUSED if len(data) < 1_000],
        },
    )
