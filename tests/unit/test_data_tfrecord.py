"""TFRecord without TensorFlow: checksums, the Example's encoding, and a reader that takes no more than there is."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from edgeprof.workloads.data.errors import DataError
from edgeprof.workloads.data.formats.crc32c import BLOCK, POLYNOMIAL, SHORT, crc32c, masked
from edgeprof.workloads.data.formats.example import decode, decode_sample, encode
from edgeprof.workloads.data.formats.tfrecord import encode_record, read_records

FEATURE = st.one_of(
    st.lists(st.binary(max_size=50), max_size=4),
    hnp.arrays(np.float32, st.integers(0, 20), elements=st.floats(width=32, allow_nan=False)),
    hnp.arrays(np.int64, st.integers(0, 20)),
)


@pytest.mark.parametrize(
    ("data", "checksum"),
    [
        (b"", 0),
        (b"123456789", 0xE3069283),
        (bytes(32), 0x8A9136AA),
        (b"\xff" * 32, 0x62A8AB43),
        (bytes(range(32)), 0x46DD794E),
        (bytes(range(31, -1, -1)), 0x113FDB5C),
    ],
)
def test_checksums_are_those_of_the_standard(data: bytes, checksum: int) -> None:
    assert crc32c(data) == checksum  # RFC 3720, appendix B.4


@given(st.integers(0, 4 * BLOCK), st.randoms(use_true_random=False))
def test_blocks_are_joined_rightly(length: int, random: object) -> None:
    data = random.randbytes(length)  # type: ignore[attr-defined]
    register = 0xFFFFFFFF
    for byte in data:
        register ^= byte
        for _ in range(8):
            register = register >> 1 ^ (POLYNOMIAL if register & 1 else 0)
    assert crc32c(data) == register ^ 0xFFFFFFFF


def test_the_short_way_and_the_long_way_meet() -> None:
    data = bytes(range(256)) * 5
    assert len({crc32c(data[: SHORT + extra]) for extra in range(-2, 3)}) == 5


@given(st.dictionaries(st.text(max_size=12), FEATURE, max_size=5))
def test_an_example_is_read_as_it_was_written(features: dict[str, object]) -> None:
    found = decode(encode(features))  # type: ignore[arg-type]
    assert found.keys() == features.keys()
    for name, value in features.items():
        np.testing.assert_array_equal(np.asarray(found[name]), np.asarray(value))


@given(st.binary(max_size=200))
def test_any_bytes_are_an_example_or_an_error(content: bytes) -> None:
    told = ""
    try:
        decode(content)
    except DataError as error:
        told = str(error)
    assert "\n" not in told


@given(st.data())
def test_a_damaged_example_is_an_error_or_another_example(data: st.DataObject) -> None:
    content = bytearray(encode({"image": [b"\xff\xd8" * 20], "label": np.array([3], np.int64)}))
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    told = "the Example"
    try:
        decode_sample(bytes(content), "images")
    except DataError as error:
        told = str(error)
    assert told.startswith("the Example")


def test_numbers_may_be_packed_or_not() -> None:
    def one_field(number: int, content: bytes) -> bytes:
        return bytes([number << 3 | 2, len(content)]) + content

    feature = one_field(3, b"\x08\x05\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01")  # 5, then -1, one by one
    entry = one_field(1, b"n") + one_field(2, feature)
    np.testing.assert_array_equal(decode(one_field(1, one_field(1, entry)))["n"], [5, -1])


@given(st.lists(st.binary(max_size=2000), max_size=6))
def test_records_are_read_as_they_were_written(tmp_path_factory: pytest.TempPathFactory, records: list[bytes]) -> None:
    path = tmp_path_factory.mktemp("records") / "a.tfrecord"
    path.write_bytes(b"".join(map(encode_record, records)))
    assert list(read_records(path)) == records


@given(st.data())
def test_a_damaged_file_is_one_sentence(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    path = tmp_path_factory.mktemp("damaged") / "a.tfrecord"
    content = bytearray(encode_record(b"x" * 100) + encode_record(b"y" * 30))
    place = data.draw(st.integers(0, len(content) - 1))
    if data.draw(st.booleans()):
        del content[place:]
    else:
        content[place] ^= data.draw(st.integers(1, 255))
    path.write_bytes(content)
    if place == 0 and not content:
        assert list(read_records(path)) == []
    elif len(content) == 116:
        assert list(read_records(path)) == [b"x" * 100]  # a cut between two records shows in their number only
    else:
        with pytest.raises(DataError, match="is damaged in the record at byte"):
            list(read_records(path))


def test_a_length_beyond_the_file_takes_no_memory(tmp_path: Path) -> None:
    length = struct.pack("<Q", 1 << 60)
    path = tmp_path / "a.tfrecord"
    path.write_bytes(length + struct.pack("<I", masked(length)) + b"x")
    with pytest.raises(DataError, match="it is cut"):
        list(read_records(path))
