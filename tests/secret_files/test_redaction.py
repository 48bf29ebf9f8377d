"""No form of a secret passes the formatter, whichever way it takes.

The ways through logging are in test_logs.py, with the service's own loggers.
"""

from __future__ import annotations

import base64
import io
import itertools
import json
import logging
import random
import string
import tracemalloc

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from secret_files import RedactingFormatter, Redactor, Secret
from secret_files.redaction import Index, _merged, forms
from tests.forms import CURRENT, FORMS, IN_LINES, PREVIOUS, traces


@pytest.fixture
def hits() -> list[int]:
    return []


@pytest.fixture
def redactor(hits: list[int]) -> Redactor:
    redactor = Redactor(hits.append)
    redactor.learn([Secret("TOKEN", PREVIOUS)])
    redactor.learn([Secret("TOKEN", CURRENT)])
    return redactor


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("value", [CURRENT, PREVIOUS])
def test_every_form_is_redacted(redactor: Redactor, form: str, value: str) -> None:
    text = f"before {FORMS[form](value)} after"
    redacted = redactor.redact(text)
    assert "[redacted]" in redacted
    assert not [trace for trace in traces(value) if trace in redacted]
    assert redacted.startswith("before ")
    assert redacted.endswith(" after")


#: More punctuation than `CURRENT` has, with what ends an XML section in it.
PUNCTUATED = "''&a<\"\"b>;&amp;c]]>d'\\'e|$(f)`g`&#39;{h}%25!\ti"


@pytest.mark.parametrize("form", IN_LINES)
@pytest.mark.parametrize("value", [CURRENT, PREVIOUS, PUNCTUATED])
def test_every_form_of_punctuation_is_redacted(form: str, value: str) -> None:
    redactor = Redactor()
    redactor.learn([Secret("TOKEN", value)])
    written = IN_LINES[form](value)
    for text in (f"before {written} after", json.dumps({"message": f"before {written} after"})):
        redacted = redactor.redact(text)
        assert "[redacted]" in redacted
        # what is left are the names around it, and base32 of what stands beside it
        assert len(redacted) < 90, redacted
        assert "before" in redacted
        assert "after" in redacted


@given(st.text(min_size=8, max_size=80), st.sampled_from(sorted(IN_LINES)))
def test_any_value_is_redacted_in_every_form_of_punctuation(value: str, form: str) -> None:
    redactor = Redactor()
    redactor.learn([Secret("TOKEN", value)])
    written = IN_LINES[form](value)
    assert "[redacted]" in redactor.redact(f"before {written} after")


@given(st.text(min_size=8, max_size=80), st.binary(max_size=9), st.binary(max_size=9))
def test_base64_is_redacted_whatever_stands_around(value: str, before: bytes, after: bytes) -> None:
    redactor = Redactor()
    redactor.learn([Secret("TOKEN", value)])
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        encoded = encode(before + value.encode() + after).decode()
        redacted = redactor.redact(encoded)
        assert "[redacted]" in redacted
        # what is left is before and after it, and the characters that it shares with them
        assert len(redacted) - len("[redacted]") <= len(encoded) - len(value.encode()) * 4 / 3 + 4


@given(st.text(min_size=8, max_size=80), st.text(max_size=30), st.text(max_size=30))
@example("a'b\"c\\d/e", "it's ", "")
@example("a'b\"c\\d/e", 'a "quoted" ', "")
def test_escapes_are_redacted_whatever_stands_around(value: str, before: str, after: str) -> None:
    redactor = Redactor()
    redactor.learn([Secret("TOKEN", value)])
    text = before + value + after
    for shown in (
        text,
        repr(text),
        repr(text.encode()),
        json.dumps(text),
        json.dumps(text, ensure_ascii=False),
        json.dumps({"message": repr([text])}),
        json.dumps({"message": json.dumps({"password": text})}),
    ):
        assert "[redacted]" in redactor.redact(shown)


@given(
    st.lists(st.text("ab", min_size=8, max_size=12), min_size=1, max_size=6),
    st.lists(st.text("abc", max_size=20), max_size=8),
    st.data(),
)
def test_the_index_finds_what_a_search_for_each_text_finds(
    texts: list[str], around: list[str], data: st.DataObject
) -> None:
    """With two letters only, so that the texts overlap each other and themselves."""
    text = "".join(piece + data.draw(st.sampled_from(["", *texts])) for piece in around)
    expected: set[int] = set()
    for wanted in texts:
        for start in range(len(text)):
            if text.startswith(wanted, start):
                expected.update(range(start, start + len(wanted)))
    index = Index(texts[:1])
    if index.takes(texts):
        index.add(texts[1:])
    else:
        index = Index(texts)
    places = _merged(index.find(text))
    assert {place for start, end in places for place in range(start, end)} == expected
    assert all(first[1] <= second[0] for first, second in itertools.pairwise(places))


def test_other_texts_stay_as_they_are(redactor: Redactor, hits: list[int]) -> None:
    assert redactor.redact("nothing to see: 42 äö") == "nothing to see: 42 äö"
    assert redactor.redact("") == ""
    assert hits == []


def test_what_knows_nothing_changes_nothing() -> None:
    assert Redactor().redact(CURRENT) == CURRENT


def test_overlapping_secrets_leave_no_rest(hits: list[int]) -> None:
    redactor = Redactor(hits.append)
    redactor.learn([Secret("A", "first-part-shared"), Secret("B", "shared-last-part")])
    assert redactor.redact("<first-part-shared-last-part>") == "<[redacted]>"
    assert hits == [1]


def test_two_secrets_side_by_side_are_two(redactor: Redactor, hits: list[int]) -> None:
    assert redactor.redact(PREVIOUS + PREVIOUS) == "[redacted][redacted]"
    assert hits == [2]


@pytest.mark.parametrize("length", [2_000, 60_000])
def test_a_long_value_is_redacted_and_costs_no_more_memory_than_its_forms(length: int) -> None:
    characters = string.ascii_letters + string.digits + string.punctuation
    value = "".join(random.Random(1).choices(characters, k=length))
    redactor = Redactor()
    tracemalloc.start()
    redactor.learn([Secret("DOCUMENT", value)])
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 100 * length + 1_000_000
    assert redactor.redact(json.dumps({"a": value, "b": 1})) == '{"a": "[redacted]", "b": 1}'


def test_a_line_of_a_longer_value_is_redacted_wherever_it_stands(redactor: Redactor) -> None:
    redactor.learn([Secret("KEY", "-----BEGIN KEY-----\nMIIEvQIBADANBgkq\nhkiG9w0BAQ==\n")])
    assert redactor.redact("  | MIIEvQIBADANBgkq") == "  | [redacted]"
    assert redactor.redact("-----BEGIN KEY-----") == "-----BEGIN KEY-----"


def test_what_is_known_already_is_not_learnt_again(redactor: Redactor) -> None:
    assert redactor._index
    before = sum(map(len, redactor._index._found_in.values()))
    redactor.learn([Secret("TOKEN", CURRENT), Secret("OTHER", PREVIOUS)])
    assert sum(map(len, redactor._index._found_in.values())) == before


def test_what_could_not_be_learnt_is_learnt_at_the_next_try(
    redactor: Redactor, monkeypatch: pytest.MonkeyPatch
) -> None:
    later = [Secret("TOKEN", "a-later-value-77aa")]
    with monkeypatch.context() as patch, pytest.raises(MemoryError):
        patch.setattr(Index, "add", raise_memory_error)
        redactor.learn(later)
    redactor.learn(later)
    assert redactor.redact("a-later-value-77aa") == "[redacted]"


def raise_memory_error(*arguments: object) -> None:
    raise MemoryError


def test_a_short_value_is_not_looked_for(hits: list[int]) -> None:
    redactor = Redactor(hits.append)
    redactor.learn([Secret("SHORT", ""), Secret("SHORT", "a"), Secret("SHORT", "1234567")])
    assert redactor.redact("a 1234567") == "a 1234567"
    assert hits == []


def test_hits_are_counted(redactor: Redactor, hits: list[int]) -> None:
    redactor.redact(f"{CURRENT} and {PREVIOUS} and {CURRENT.encode().hex()}")
    assert hits == [3]


def test_the_forms_of_a_value_are_few() -> None:
    """Each takes memory; those with doubled quotation marks are of few values."""
    assert len(set(forms("Zk3-unit-test-signing-key-4f1c9a7be2"))) < 24
    assert len(set(forms(CURRENT))) < 150


class Broken(logging.Formatter):
    """Can't format a record that has arguments."""

    def format(self, record: logging.LogRecord) -> str:
        if record.args:
            raise ValueError(record.args)
        return super().format(record)


def test_a_record_that_can_not_be_formatted_says_where_it_came_from(redactor: Redactor) -> None:
    output = io.StringIO()
    handler = logging.StreamHandler(output)
    handler.setFormatter(RedactingFormatter(Broken("%(levelname)s %(message)s"), redactor))
    logger = logging.Logger("test")
    logger.addHandler(handler)
    logger.warning("%s", "anything")
    written = output.getvalue()
    assert written.startswith("WARNING a log record of ")
    assert "test_redaction.py:" in written
    assert "can't be formatted: ValueError" in written
    assert "anything" not in written
