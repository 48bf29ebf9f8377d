"""A value is taken as it was written, but for one line break, or refused for a reason."""

from __future__ import annotations

import json
import re
import secrets
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from secret_files import Key
from secret_files.key import parse

TOKEN = Key("TOKEN")

REASONS = {
    "holds a NUL byte: write the value as plain text",
    "is a known placeholder: put a random value there",
    "is empty: write the value there",
    "is not UTF-8: write the value as plain text",
    "is too short: at least 8, from a random source",
}


WITHOUT_RETURN = st.text(min_size=8).filter(lambda value: not value.endswith("\r"))


@given(WITHOUT_RETURN, st.sampled_from(["\n", "\r\n"]))
def test_a_value_loses_one_line_break_and_nothing_else(value: str, line_break: str) -> None:
    parsed = parse(TOKEN, (value + line_break).encode())
    if isinstance(parsed, str):
        assert parsed.startswith(("is too short", "is a known placeholder", "holds a NUL"))
    else:
        assert [secret.reveal() for secret in parsed] == [value]


@given(st.binary())
def test_whatever_is_there_is_taken_or_refused_for_one_of_a_few_reasons(content: bytes) -> None:
    """The reasons are sentences of this package: none can hold a byte of the content."""
    parsed = parse(TOKEN, content)
    if isinstance(parsed, str):
        assert re.sub("at least 8 (bytes|characters)", "at least 8", parsed) in REASONS
    else:
        assert parsed[0].reveal().encode() in content


@pytest.mark.parametrize("value", ["Xq7-ab1", "éßñé", "äöüßäöü"])
def test_a_value_that_is_too_short_to_be_redacted_is_refused(value: str) -> None:
    parsed = parse(TOKEN, value.encode())
    assert isinstance(parsed, str)
    assert parsed.startswith("is too short: at least 8 ")


def test_a_key_may_be_a_fallback_whatever_characters_it_has() -> None:
    """For `str.splitlines`, each of these characters would end a line."""
    values = ["with-\x0b-and-\x85-in-it", "with-\u2028-in-it"]
    parsed = parse(Key("KEYS", lines=True), "\r\n".join([*values, "", ""]).encode())
    assert [value.reveal() for value in parsed if not isinstance(value, str)] == values


FALLBACKS = Key("SECRET_KEY_FALLBACKS", min_bytes=32, lines=True, required=False)
FIRST = "Zk3.another-unit-test-signing-key-0d2"
SECOND = "Zk3_unit-test-signing-key-4f1c9a7be2"
PUNCTUATED = "b!9@6#c$2%4^d&3*7(c)6{3}b|d:6?1<8>4"

WRONG_FORMS = {
    "JSON list": json.dumps([FIRST, SECOND]),
    "JSON list of one": json.dumps([FIRST]),
    "JSON list in lines": json.dumps([FIRST, SECOND], indent=2),
    "JSON object": json.dumps({"old": FIRST}),
    "Python list": repr([FIRST, SECOND]),
    "YAML flow list": f"[{FIRST}, {SECOND}]",
    "empty list": "[]",
    "YAML list": f"- {FIRST}\n- {SECOND}",
    "YAML list of one": f"- {FIRST}",
    "commas": f"{FIRST},{SECOND}",
    "commas and spaces": f"{FIRST}, {SECOND}",
    "semicolons": f"{FIRST};{SECOND}",
    "spaces": f"{FIRST} {SECOND}",
    "tabs": f"{FIRST}\t{SECOND}",
    "carriage returns": f"{FIRST}\r{SECOND}",
    "escaped line breaks": f"{FIRST}\\n{SECOND}",
    "escaped Windows line breaks": f"{FIRST}\\r\\n{SECOND}",
    "commas between keys with punctuation": f"{PUNCTUATED},{PUNCTUATED[::-1]}",
    "several values in the second line": f"{FIRST}\n{SECOND},{FIRST}",
    "a comma after each line": f"{FIRST},\n{SECOND},",
    "a comma after all lines but one": f"{FIRST},\n{SECOND}",
    "a comma after the only value": f"{FIRST},",
    "a semicolon after the last line": f"{FIRST}\n{SECOND};",
    "double quotes": f'"{FIRST}"',
    "double quotes around all": f'"{FIRST}\n{SECOND}"',
    "single quotes": f"{FIRST}\n'{SECOND}'",
    "backticks": f"`{FIRST}`",
    "typographic quotes": f"\u201c{FIRST}\u201d",
    "a space before": f" {FIRST}",
    "a space after": f"{FIRST} ",
    "a tab before the second line": f"{FIRST}\n\t{SECOND}",
    "a no-break space after": f"{FIRST}\xa0",
    "a carriage return after": f"{FIRST}\r\r\n{SECOND}",
    "a line of spaces": f"{FIRST}\n   \n{SECOND}",
    "byte order mark": f"\ufeff{FIRST}",
    "its own name": f"SECRET_KEY_FALLBACKS={FIRST}",
    "its own name, as in YAML": f"SECRET_KEY_FALLBACKS: {FIRST}",
    "its own name, lower case": f"secret_key_fallbacks={FIRST}",
}


@pytest.mark.parametrize("form", WRONG_FORMS)
@pytest.mark.parametrize("line_break", ["", "\n", "\r\n"])
@pytest.mark.parametrize("min_bytes", [8, 32])
def test_fallbacks_in_another_form_than_lines_are_rejected_with_the_right_form(
    form: str, line_break: str, min_bytes: int
) -> None:
    key = replace(FALLBACKS, min_bytes=min_bytes)
    parsed = parse(key, (WRONG_FORMS[form] + line_break).encode())
    assert isinstance(parsed, str)
    assert parsed.endswith(": write one value per line, with nothing around it")
    assert FIRST not in parsed
    assert SECOND not in parsed


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("", []),
        ("\n", []),
        (FIRST, [FIRST]),
        (f"{FIRST}\n\n{SECOND}\n", [FIRST, SECOND]),
        (f"{FIRST}\r\n{SECOND}\r\n", [FIRST, SECOND]),
        *(
            (one, [one])
            for one in (
                "correct horse battery staple, and no more than that",
                "words; of, which none is long enough to be a key by itself",
                "[its-first-character-is-a-bracket-0123",
                "'its-first-character-is-a-quote-0123",
                "has=an=equals=sign=and=no=name=before=it",
                "a\\word-with-a-backslash-is-no-separator",
                "-its-first-character-is-a-dash-0123456",
                f"{PUNCTUATED}-a-long-one,with-a-comma-in-its-middle-{PUNCTUATED}",
            )
        ),
    ],
)
def test_fallbacks_in_lines_are_taken_as_they_are(text: str, values: list[str]) -> None:
    parsed = parse(FALLBACKS, text.encode())
    assert not isinstance(parsed, str), parsed
    assert [value.reveal() for value in parsed] == values


def test_a_key_without_lines_may_look_like_a_list() -> None:
    """A password may have any form: `hint` names those that are seldom meant."""
    for text in WRONG_FORMS.values():
        assert not isinstance(parse(TOKEN, text.encode()), str) or len(text) < 8


def test_random_fallbacks_are_taken() -> None:
    for _ in range(2000):
        keys = [secrets.token_urlsafe(32), secrets.token_hex(32), secrets.token_urlsafe(64)]
        parsed = parse(FALLBACKS, "\n".join(keys).encode())
        assert [value.reveal() for value in parsed if not isinstance(value, str)] == keys


# ruff: noqa: RUF001
#: One per line or "|", with words from the list of placeholders in many of them.
_PASSPHRASES = """
    🔑🔐-key-9🗝️|🔑🔑🔐🔐 secret 🗝️|🦊🐻🐼🦁-password|👩‍🚀👨‍🔬 token 7️⃣|🇪🇺 the 🇯🇵 key 🇧🇷
    пароль-для-входа|секретный ключ 42|моя_password_тут|ключ-к-сервису|тайна-password-1
    κωδικός-πρόσβασης|μυστικό key 9|ελληνικά-secret|Ωμέγα-token-α|αβγδεζηθ
    正确马电池订书钉|我的密码是很长的|密码-password-密码|這是一個密碼 key|秘密のパスワード
    ひらがな-secret-かな|カタカナの合鍵です|日本語 password 1|비밀번호-password|열쇠 key 열쇠 key
    한국어-비밀-문구|รหัสผ่าน-password|กุญแจ the key|ความลับ-secret|पासवर्ड-password
    गुप्त कुंजी key|தமிழ் secret|కీ-password-కీ|ಕನ್ನಡ-token-1|മലയാളം key
    বাংলা-password|ਪੰਜਾਬੀ secret|ગુજરાતી-key-1|සිංහල password|ខ្មែរ-secret-key
    سر-password-سر|كلمة المرور 12|مفتاح the key|רוזן-password|סיסמה סודית
    ገመና-password|გასაღები key|բանալի-secret|ᚠᚢᚦᚨᚱᚲ-key-ᚷ|ᏣᎳᎩ-password
    şifre-ğüı-key|mật-khẩu-số-9|schlüssel-größe|clé-sécrète-é|contraseña-ñ
    ¡contraseña!|hasło-łódź-key|heslo-žluťoučký|lykilorð-þ-key|√2-key-∞-∑
"""
PASSPHRASES = [part.strip() for part in re.split(r"[|\n]", _PASSPHRASES) if part.strip()]


def test_there_are_fifty_passphrases() -> None:
    assert len(set(PASSPHRASES)) >= 50


@pytest.mark.parametrize("passphrase", PASSPHRASES)
def test_a_passphrase_in_any_script_is_taken(passphrase: str) -> None:
    parsed = parse(TOKEN, passphrase.encode())
    assert not isinstance(parsed, str), parsed
    assert parsed[0].reveal() == passphrase


@pytest.mark.parametrize(
    "placeholder",
    [
        "change_me",
        "CHANGE-ME!!",
        "<your secret key>",
        "${SECRET_KEY}",
        "{{ secret_key }}",
        "[insert password here]",
        "**password123**",
        "my.secret/token:42",
        "\u201cchangeme\u201d",
        "change\u2026me\u2026please",
        "\xabyour\u2011secret\xa0key\xbb",
        "🔑" * 8,
    ],
)
def test_a_placeholder_with_punctuation_is_rejected(placeholder: str) -> None:
    assert parse(TOKEN, placeholder.encode()) == "is a known placeholder: put a random value there"


def test_a_public_value_may_be_short() -> None:
    parsed = parse(Key("USER", min_bytes=1, public=True), b"me")
    assert [value.reveal() for value in parsed if not isinstance(value, str)] == ["me"]


def test_a_key_can_not_allow_what_nothing_redacts() -> None:
    with pytest.raises(ValueError, match="PIN: min_bytes has to be at least 8"):
        Key("PIN", min_bytes=4)
