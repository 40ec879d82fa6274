"""The file itself: whatever happens to its bytes, nothing else is read from it than was written."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netraven.archive.files import Archive, ArchiveRefused, Writer
from netraven.archive.lines import (
    ArchivedVersion,
    Balance,
    Form,
    Header,
    Line,
    Misfit,
    Text,
    from_line,
    key_identity,
    to_line,
)
from netraven.credentials.sealing import Keyring
from netraven.errors import KeyringError
from netraven.model import Device

AT = datetime(2026, 11, 22, 3, 4, 5, 678901, tzinfo=UTC)
RING = Keyring([b"k" * 32])


def text(content: str, uses: int = 1) -> Text:
    data = content.encode("utf-8", "surrogateescape")
    return Text(hashlib.sha256(data).digest(), data, uses)


def version(number: int, of: Text, **more: object) -> ArchivedVersion:
    return ArchivedVersion("r1", "running", number, of.sha256, "cisco_iosxe", AT, AT, **more)  # type: ignore[arg-type]  # the fields' own types


def body() -> list[Line]:
    texts = sorted((text(f"hostname r{n}\n" * 9) for n in range(5)), key=lambda one: one.sha256)
    return [
        Device("r1", "192.0.2.1", "cisco_iosxe", 22, frozenset({"edge"})),
        *texts,
        *(version(n, one) for n, one in enumerate(texts, 1)),
    ]


def made(folder: Path, form: Form) -> Path:
    path = folder / form.value
    key, sealing = None, None
    if form is Form.SEALED:
        key, sealing = RING.seal_bytes(b"a" * 32, key_identity(form)), Keyring([b"a" * 32])
    with Writer(path, Header(AT, form, key), sealing, force=True) as writer:
        writer.write(body())
        writer.finish()
    return path


@pytest.fixture(scope="module", params=[Form.SEALED, Form.RAW])
def archive(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made(tmp_path_factory.mktemp("archives"), request.param)


def read(path: Path) -> list[Line]:
    with Archive.open(path) as opened:
        return list(opened.lines(RING))[1:-1]


def test_what_was_written_is_read(archive: Path) -> None:
    assert read(archive) == body()
    with Archive.open(archive) as opened:
        assert list(opened.lines(RING)) == list(opened.lines(RING))


def test_cut_off_anywhere_it_is_refused(archive: Path, tmp_path: Path) -> None:
    data = archive.read_bytes()
    for length in range(len(data)):
        (tmp_path / "cut").write_bytes(data[:length])
        with pytest.raises(ArchiveRefused):
            read(tmp_path / "cut")


@given(st.data())
def test_with_other_bytes_it_is_refused_or_says_the_same(archive: Path, data: st.DataObject) -> None:
    """The same: a few bits say only how much memory unpacking takes."""
    good = archive.read_bytes()
    place = data.draw(st.integers(0, len(good) - 1))
    length = data.draw(st.integers(1, 64))
    noise = data.draw(st.binary(min_size=1, max_size=64))
    bad = good[:place] + noise + good[place + length :]
    with damaged(archive, bad) as path, contextlib.suppress(ArchiveRefused):
        assert read(path) == body()


def test_with_any_one_bit_flipped_it_is_refused_or_says_the_same(archive: Path) -> None:
    good = archive.read_bytes()
    refused = 0
    for place in range(len(good)):
        bad = bytearray(good)
        bad[place] ^= 1 << place % 8
        with damaged(archive, bytes(bad)) as path:
            try:
                assert read(path) == body()
            except ArchiveRefused:
                refused += 1
    assert refused > 0.98 * len(good)


@contextlib.contextmanager
def damaged(beside: Path, data: bytes) -> Iterator[Path]:
    path = beside.with_name("damaged")
    path.write_bytes(data)
    yield path


def test_another_header_does_not_open_what_is_sealed(tmp_path: Path) -> None:
    sealed = made(tmp_path, Form.SEALED)
    with Archive.open(sealed) as opened, pytest.raises(KeyringError, match="another installation"):
        list(opened.lines(Keyring([b"z" * 32])))


def test_a_writer_that_is_left_leaves_nothing(tmp_path: Path) -> None:
    def left() -> None:
        with Writer(tmp_path / "a", Header(AT, Form.RAW), None, force=False):
            assert len(list(tmp_path.iterdir())) == 1
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        left()
    assert list(tmp_path.iterdir()) == []


def test_versions_without_their_texts_are_a_fault_of_ours(tmp_path: Path) -> None:
    with Writer(tmp_path / "a", Header(AT, Form.RAW), None, force=False) as writer:
        writer.write([version(1, text("a"))])
        with pytest.raises(RuntimeError, match="do not fit together"):
            writer.finish()
    assert list(tmp_path.iterdir()) == []


names = st.text(st.characters(codec="ascii", categories=("L", "N")), min_size=1, max_size=12)
moments = st.datetimes(datetime(1990, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001 - given a zone
digests = st.binary(min_size=32, max_size=32)
versions = st.builds(
    lambda first, last, **more: ArchivedVersion(
        first_seen_at=min(first, last), last_seen_at=max(first, last), **more
    ),
    moments,
    moments,
    device=names,
    kind=names,
    number=st.integers(1, 1 << 30),
    sha256=digests,
    platform=names | st.just(""),
    comparable=st.none() | digests,
    run=st.none() | st.integers(0, 1 << 30),
)
texts = st.binary(max_size=200).map(lambda data: Text(hashlib.sha256(data).digest(), data, 3))


@given(versions | texts, st.booleans())
def test_every_line_reads_back(line: Line, sealed: bool) -> None:
    keyring = RING if sealed else None
    written = to_line(line, keyring)
    assert written.count(b"\n") == 1
    assert written.isascii()
    assert from_line(written, keyring) == line


@given(st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_any_other_line_is_a_misfit(line: bytes) -> None:
    with pytest.raises(Misfit):
        from_line(line)


junk = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
)
FIELDS = """
    name host port platform tags sha256 versions text base64 sealed size device kind number first_seen_at last_seen_at
    comparable run format version texts key
"""
fields = st.sampled_from(FIELDS.split())
kinds = st.sampled_from(["header", "device", "text", "version", "end"])


@given(kinds, st.dictionaries(fields, junk, max_size=12), st.booleans())
def test_fields_of_any_kind_are_a_misfit_and_no_fault(
    kind: str, found: dict[str, object], sealed: bool
) -> None:
    import json

    with contextlib.suppress(Misfit):
        from_line(json.dumps({"type": kind, **found}).encode(), RING if sealed else None)


@given(st.lists(st.tuples(st.sampled_from([b"a", b"b", b"c"]), st.integers(1, 3)), max_size=6))
def test_the_balance_is_even_where_each_text_is_used_as_often_as_it_says(
    uses: list[tuple[bytes, int]],
) -> None:
    balance = Balance()
    for digest, number in uses:
        balance.text(digest, number)
        for _ in range(number):
            balance.version(digest)
    assert balance.even
    balance.version(b"z")
    assert not balance.even
