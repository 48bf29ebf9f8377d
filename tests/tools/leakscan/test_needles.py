"""Every form of a value is found, wherever it stands; nothing else is, and none is shown."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import random
from collections.abc import Callable

import pytest

from keeper.certificates import new_authority
from secret_files import Secret
from tests.forms import CURRENT, FORMS
from tools.leakscan.needles import OVERLAP, Hit, Needles

#: Some hundreds of bytes that are no text, the same each time.
NOISE = random.Random(6).randbytes(400)
LONG_NOISE = random.Random(7).randbytes(200_000)


def b64(content: bytes) -> bytes:
    return base64.b64encode(content)


def packed(content: bytes) -> bytes:
    return gzip.compress(content)


#: Forms of bytes, with what stands around them.
BYTES: dict[str, Callable[[bytes], bytes]] = {
    "between noise": lambda raw: NOISE + raw + NOISE,
    "at the start": lambda raw: raw + NOISE,
    "at the end": lambda raw: NOISE + raw,
    **{
        f"base64 twice, after {outer} and {inner} bytes": lambda raw, outer=outer, inner=inner: (  # type: ignore[misc]
            b64(b"x" * outer + b64(b"y" * inner + raw + b"tail") + b"tail")
        )
        for outer in range(3)
        for inner in range(3)
    },
    "gzip": lambda raw: NOISE + packed(raw) + NOISE,
    "gzip in base64": lambda raw: b'{"release": "' + b64(packed(NOISE + raw)) + b'"}',
    "gzip in base64 twice": lambda raw: b64(b64(packed(raw))),
    "gzip in base64 in lines": lambda raw: base64.encodebytes(packed(raw * 20 + NOISE)),
    "base64 in gzip in base64": lambda raw: b64(packed(b64(raw))),
    "gzip that was cut off": lambda raw: packed(raw + LONG_NOISE)[:-1000],
    **{
        f"{name} {form}": lambda raw, name=name, write=write: b" " + write(hashlib.new(name, raw))  # type: ignore[misc]
        for name in ("md5", "sha1", "sha256")
        for form, write in {
            "hex": lambda digest: digest.hexdigest().encode(),
            "HEX": lambda digest: digest.hexdigest().upper().encode(),
            "bytes": lambda digest: NOISE + digest.digest(),
            "base64": lambda digest: b64(digest.digest()),
        }.items()
    },
    "what sha256sum says of a file that ends in a line break": lambda raw: (
        hashlib.sha256(raw + b"\n").hexdigest().encode()
    ),
}


@pytest.fixture(scope="module")
def needles() -> Needles:
    return Needles([Secret("a/KEY", "another-value-of-the-release"), Secret("b/PASSWORD", CURRENT)])


@pytest.mark.parametrize("form", FORMS)
def test_a_text_is_found_in_every_form(needles: Needles, form: str) -> None:
    line = f"a line with {FORMS[form](CURRENT)} in it"
    assert {hit.needle for hit in needles.find(line.encode())} == {"b/PASSWORD"}


@pytest.mark.parametrize("form", BYTES)
def test_bytes_are_found_in_every_form_and_others_are_not(needles: Needles, form: str) -> None:
    found = needles.find(BYTES[form](CURRENT.encode()))
    assert {hit.needle for hit in found} == {"b/PASSWORD"}
    assert needles.find(BYTES[form](CURRENT[::-1].encode())) == set()


def test_a_hit_tells_the_value_and_its_form(needles: Needles) -> None:
    assert needles.find(CURRENT.encode().hex().encode()) == {Hit("b/PASSWORD", "hex")}
    assert needles.find(packed(CURRENT.encode())) == {Hit("b/PASSWORD", "raw in gzip")}


def test_a_value_is_found_at_every_offset(needles: Needles) -> None:
    for before in range(40):
        assert needles.find(b"x" * before + CURRENT.encode() + b"x" * 40), before


def test_a_value_that_lies_across_chunks_is_found(needles: Needles) -> None:
    raw = CURRENT.encode()
    for cut in range(1, len(raw)):
        chunks = [NOISE * 3, NOISE + raw[:cut], raw[cut:] + NOISE, NOISE]
        hits, size = needles.find_in(iter(chunks))
        assert hits == {Hit("b/PASSWORD", "raw")}, cut
        assert size == sum(map(len, chunks))


def test_a_release_of_helm_that_lies_across_chunks_is_found(needles: Needles) -> None:
    whole = b64(b64(packed(random.Random(1).randbytes(40_000) + CURRENT.encode())))
    chunks = [whole[start : start + 1000] for start in range(0, len(whole), 1000)]
    assert len(whole) < OVERLAP
    assert {hit.needle for hit in needles.find_in(chunks)[0]} == {"b/PASSWORD"}


KEY = new_authority("test CA")
LINES = KEY.key.splitlines()


@pytest.mark.parametrize(
    "content",
    [
        KEY.key.encode(),
        LINES[1].encode(),
        json.dumps(KEY.key).encode(),
        b64(KEY.key.encode()),
        base64.b64decode("".join(LINES[1:-1])),
        hashlib.sha256(KEY.key.encode()).hexdigest().encode(),
    ],
    ids=["PEM", "a line of it", "JSON", "base64", "DER", "sha256"],
)
def test_a_private_key_is_found_whole_and_in_part(content: bytes) -> None:
    assert Needles([Secret("ca/tls.key", KEY.key)]).find(content)


def test_what_every_private_key_has_is_no_part_of_it() -> None:
    other = new_authority("test CA").key.encode()
    assert Needles([Secret("ca/tls.key", KEY.key)]).find(other) == set()


def test_each_of_the_keys_in_a_value_is_found() -> None:
    keys = ["first-" + "a1b2" * 8, "second-" + "c3d4" * 8]
    needles = Needles([Secret("SECRET_KEY_FALLBACKS", "\n".join(keys))])
    for key in keys:
        assert needles.find(b64(b"x" + key.encode()))
        assert needles.find(hashlib.md5(key.encode(), usedforsecurity=False).digest())


# pragma: allowlist nextline secret
@pytest.mark.parametrize("value", ["", "brief", "fifteen-bytes-x", "-----BEGIN PRIVATE KEY-----\n"])
def test_a_value_that_would_be_found_everywhere_is_an_error(value: str) -> None:
    with pytest.raises(ValueError, match="b/PASSWORD is too short") as error:
        Needles([Secret("b/PASSWORD", value)])
    assert not value or value not in str(error.value)


def test_to_look_for_nothing_is_an_error() -> None:
    with pytest.raises(ValueError, match="no value"):
        Needles([])


def test_the_lines_for_another_program_are_the_forms(needles: Needles) -> None:
    lines = needles.lines().split(b"\n")[:-1]
    assert base64.b64encode(b"xx" + CURRENT.encode())[3:-4] in b"\n".join(lines)
    assert all(len(line) >= 16 and needles.find(line) for line in lines)
    assert {CURRENT.encode(), CURRENT.encode().hex().encode()} <= set(lines)


def test_it_shows_names_alone(needles: Needles) -> None:
    assert needles.names == ["a/KEY", "b/PASSWORD"]
    assert CURRENT not in repr(needles)


def test_noise_holds_nothing() -> None:
    """Of as many values as a release has after a rotation."""
    values = random.Random(2)
    many = Needles([Secret(f"{n}", values.randbytes(32).hex()) for n in range(16)])
    assert many.find_in(random.Random(n).randbytes(1 << 20) for n in range(4)) == (set(), 4 << 20)
