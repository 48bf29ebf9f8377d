"""Two values, and every form in which one could be written somewhere."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable
from urllib.parse import quote, quote_plus

#: With quotation marks, a slash, a backslash, a space, a percent sign and letters of two bytes.
CURRENT = "p\"w'/ü+9f81c7 %word\\end~*"
PREVIOUS = "previous-value-1b2c3d"


def _lower_codes(text: str) -> str:
    return re.sub("%..", lambda code: code[0].lower(), text)


FORMS: dict[str, Callable[[str], str]] = {
    "raw": str,
    "JSON": lambda value: json.dumps({"password": value}),
    "JSON with letters": lambda value: json.dumps(value, ensure_ascii=False),
    "JSON with slashes": lambda value: json.dumps(value).replace("/", "\\/"),
    "JSON in JSON": lambda value: json.dumps({"body": json.dumps({"password": value})}),
    "repr": repr,
    "repr of bytes": lambda value: repr(value.encode()),
    "repr in JSON": lambda value: json.dumps({"body": repr([value])}),
    "URL": quote,
    "URL, all": lambda value: quote(value, safe=""),
    "URL, lower case": lambda value: _lower_codes(quote(value, safe="")),
    "form": quote_plus,
    "URL of URL": lambda value: quote(quote(value, safe=""), safe=""),
    "URL of JSON": lambda value: quote(json.dumps({"password": value}), safe=""),
    "URL, the least": lambda value: quote(value, safe=" +:@!$&'()*,;=~\"/\\"),
    "HTML in JSON": lambda value: json.dumps(value).replace("'", "\\u0027").replace("&", "\\u0026"),
    "ascii": ascii,
    "WSGI": lambda value: value.encode().decode("latin-1"),
    "JavaScript": lambda value: quote(value, safe="!'()*"),
    "hex": lambda value: value.encode().hex(),
    "HEX": lambda value: value.encode().hex().upper(),
    "base64": lambda value: base64.b64encode(value.encode()).decode(),
    "base64 in a URL": lambda value: quote(base64.b64encode(value.encode()).decode()),
    "base64, urlsafe": lambda value: base64.urlsafe_b64encode(value.encode()).decode(),
    **{
        f"base64 after {length} bytes": lambda value, length=length: base64.b64encode(  # type: ignore[misc]
            b"x" * length + value.encode() + b"tail"
        ).decode()
        for length in (1, 2, 3)
    },
}


def traces(value: str) -> set[str]:
    """Return what would be left in a text if a form of `value` had passed."""
    raw = value.encode()
    in_html = json.dumps(value).replace("'", "\\u0027").replace("&", "\\u0026")[1:-1]
    in_url = quote(value, safe=" +:@!$&'()*,;=~\"/\\")
    slashes = json.dumps(value).replace("/", "\\/")[1:-1]
    in_wsgi = raw.decode("latin-1")
    texts = {value, ascii(value)[1:-1], repr(raw)[2:-1], slashes, in_html, in_url, in_wsgi}
    for _ in range(3):
        texts.update([json.dumps(text)[1:-1] for text in texts])
        texts.update([json.dumps(text, ensure_ascii=False)[1:-1] for text in texts])
        texts.update([repr(text)[1:-1] for text in texts])
    middles = [base64.b64encode(bytes(length) + raw).decode()[4:-4] for length in range(3)]
    return {
        *texts,
        *(quote(value, safe=safe) for safe in ("", "/", "!'()*")),
        quote(quote(value, safe=""), safe=""),
        quote(json.dumps(value)[1:-1], safe=""),
        _lower_codes(quote(value, safe="")),
        quote_plus(value),
        raw.hex(),
        raw.hex().upper(),
        *middles,
        *(middle.replace("+", "-").replace("/", "_") for middle in middles),
    }
