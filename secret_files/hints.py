"""What about a value is seldom meant, for a login that failed with it."""

from __future__ import annotations

import base64
import binascii
import re
import unicodedata
from typing import Final
from urllib.parse import unquote

from .key import BYTE_ORDER_MARK, QUOTES
from .value import Secret

#: Names before ``=`` or ``:``: in capitals as variables are, or with a word that says so.
_ASSIGNMENT: Final = re.compile(
    r"(?:export\s+)?(?:[A-Z][A-Z0-9_]{3,}|(?i:\w*(?:pass|password|pwd|secret|token|user|username)))"
    r"\s*([:=])\s*[^=\s]"
)
_TEMPLATE: Final = re.compile(r"\$\{.+\}|\$\(.+\)|\$[A-Z_][A-Z0-9_]*|\{\{.+\}\}|<%.+%>", re.DOTALL)
_URL: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
#: As `urllib.parse.quote` and `quote_plus` write: what stands for itself does so.
_PERCENT: Final = re.compile(r"[A-Za-z0-9._~+/-]*(?:%[0-9A-Fa-f]{2}[A-Za-z0-9._~+/-]*)+")
_LINE_BREAK_ESCAPES: Final = ("\\n", "\\r")

#: Base64 without padding has to decode to so many bytes of text: fewer random ones may be text,
#: by chance (12 bytes in 1 of 100,000 values, and 9 in 1 of 5,000).
_MIN_DECODED_BYTES: Final = 12

#: Characters without a width that text needs: joiners, and what follows marks flags of regions.
_JOINERS: Final = "\u200c\u200d"
_FIRST_TAG: Final = "\U000e0020"


def hint(secret: Secret) -> str:
    """Return what about the value is seldom meant, as in "ends with white space".

    Several such phrases are joined with "and"; there is none where nothing is odd. A
    value may be meant so: say it after a login failed, and reject nothing by it. No byte
    of the value is in it.
    """
    return " and ".join(_oddities(secret.reveal()))


def _oddities(value: str) -> list[str]:
    marked = value.startswith(BYTE_ORDER_MARK)
    text = value.removeprefix(BYTE_ORDER_MARK)
    inner = text.strip()
    found = {
        "begins with a byte order mark": marked,
        "begins with white space": text[:1].isspace(),
        "ends with white space": text[-1:].isspace(),
        "has several lines": len(inner.splitlines()) > 1,
        "contains a no-break space": any(_is_odd_space(character) for character in inner),
        "contains an invisible character": any(_is_invisible(character) for character in inner),
        "contains a control character": any(_is_control(character) for character in inner),
        "ends with an escaped line break": inner.endswith(_LINE_BREAK_ESCAPES),
        "is in quotes": inner[:1] + inner[1:][-1:] in QUOTES,
        "is in angle brackets": bool(re.fullmatch(r"<[^%].*>", inner, re.DOTALL)),
        "looks like a template that nobody filled in": bool(_TEMPLATE.fullmatch(inner)),
        "looks like JSON": bool(re.fullmatch(r'\[\s*".*\]|\{\s*".*\}', inner, re.DOTALL)),
        "looks like a URL": bool(_URL.match(inner)),
        "looks like percent-encoding": _is_percent_encoded(inner),
        "looks like base64": _is_base64_of_text(inner),
    }
    if assigned := _ASSIGNMENT.match(inner):
        found["looks like KEY=value" if assigned[1] == "=" else "looks like a line of YAML"] = True
    return [phrase for phrase, is_so in found.items() if is_so]


def _is_odd_space(character: str) -> bool:
    return character != " " and unicodedata.category(character) == "Zs"


def _is_invisible(character: str) -> bool:
    is_needed = character in _JOINERS or character >= _FIRST_TAG
    return unicodedata.category(character) == "Cf" and not is_needed


def _is_control(character: str) -> bool:
    return unicodedata.category(character) == "Cc" and not character.isspace()


def _is_percent_encoded(text: str) -> bool:
    if not _PERCENT.fullmatch(text):
        return False
    decoded = unquote(text, errors="replace")
    # an encoder leaves letters and digits as they are
    codes = re.findall("%([0-9A-Fa-f]{2})", text)
    return "\ufffd" not in decoded and not any(
        chr(int(code, 16)).isascii() and chr(int(code, 16)).isalnum() for code in codes
    )


def _is_base64_of_text(text: str) -> bool:
    """Tell whether it decodes to printable text, which of a random value is seldom so."""
    try:
        decoded = base64.b64decode(text.translate({45: "+", 95: "/"}), validate=True).decode()
    except (binascii.Error, ValueError):
        return False
    plain = re.sub(r"\r?\n\Z", "", decoded)
    if not plain.isprintable() or len(plain) < 4:
        return False
    return text.endswith("=") or plain != decoded or len(decoded) >= _MIN_DECODED_BYTES
