"""Two values, and every form in which one could be written somewhere."""

from __future__ import annotations

import base64
import csv
import html
import io
import json
import re
import shlex
from collections.abc import Callable
from html.entities import html5
from urllib.parse import quote, quote_plus
from xml.sax import saxutils

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


def _csv(value: str) -> str:
    line = io.StringIO()
    csv.writer(line).writerow(["id", value])
    return line.getvalue().strip()


def _sql(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"


def _shell(value: str) -> str:
    return "'" + value.replace("'", "'\\''") + "'"


def _entities(value: str, code: str) -> str:
    return "".join(f"&#{ord(character):{code}};" for character in value)


def _named_entities(value: str) -> str:
    names = {text: name for name, text in html5.items() if name.endswith(";") and len(text) == 1}
    return "".join(f"&{names[one]}" if one in names else one for one in value)


def _octal(value: str) -> str:
    return "$'" + "".join(f"\\{byte:03o}" for byte in value.encode()) + "'"


def _hex_in(separator: str, code: str = "02x") -> Callable[[str], str]:
    return lambda value: separator.join(f"{byte:{code}}" for byte in value.encode())


#: What only a log line is redacted of.
IN_LINES: dict[str, Callable[[str], str]] = {
    "SQL": _sql,
    "SQL in SQL": lambda value: _sql(_sql(value)),
    "SQL in JSON": lambda value: json.dumps({"statement": _sql(value)}),
    "SQL in a shell": lambda value: _shell(_sql(value)),
    "SQL, backslashes": lambda value: "E" + _sql(value.replace("\\", "\\\\")),
    "shell": _shell,
    "shlex": shlex.quote,
    "shell in JSON": lambda value: json.dumps({"run": _shell(value)}),
    "shell in a URL": lambda value: quote(_shell(value), safe=""),
    "shell in HTML": lambda value: html.escape(_shell(value)),
    "shell, octal": _octal,
    "CSV": _csv,
    "CSV in JSON": lambda value: json.dumps(_csv(value)),
    "CSV of JSON": lambda value: _csv(json.dumps({"password": value})),
    "SQL in CSV": lambda value: _csv(_sql(value)),
    "HTML": html.escape,
    "HTML in JSON, plain": lambda value: json.dumps(html.escape(value)),
    "HTML of HTML": lambda value: html.escape(html.escape(value)),
    "HTML of JSON": lambda value: html.escape(json.dumps(value)),
    "HTML in a URL": lambda value: quote(html.escape(value), safe=""),
    "XML": saxutils.escape,
    "XML attribute": saxutils.quoteattr,
    "XML CDATA": lambda value: "<![CDATA[" + value.replace("]]>", "]]]]><![CDATA[>") + "]]>",
    "entities by name": _named_entities,
    "decimal entities": lambda value: _entities(value, "d"),
    "decimal entities with zeros": lambda value: _entities(value, "04d"),
    "hex entities": lambda value: _entities(value, "x").replace("&#", "&#x"),
    "HEX entities": lambda value: _entities(value, "X").replace("&#", "&#X"),
    "entities of bytes": lambda value: _entities(value.encode().decode("latin-1"), "d"),
    **{
        f"base32 after {length} bytes": lambda value, length=length: base64.b32encode(  # type: ignore[misc]
            b"x" * length + value.encode() + b"tail"
        ).decode()
        for length in range(5)
    },
    "base32": lambda value: base64.b32encode(value.encode()).decode(),
    "base32, lower case": lambda value: base64.b32encode(value.encode()).decode().lower(),
    "base32 without padding": lambda value: base64.b32encode(value.encode()).decode().rstrip("="),
    "hex with spaces": _hex_in(" "),
    "HEX with spaces": _hex_in(" ", "02X"),
    "hex with colons": _hex_in(":"),
    "hex with commas": _hex_in(","),
    "hex with commas and spaces": _hex_in(", "),
    "hex with dashes": _hex_in("-"),
    "hex with line breaks": _hex_in("\n"),
    "hex with spaces in a URL": lambda value: quote_plus(_hex_in(" ")(value)),
    "0x with spaces": _hex_in(" ", "#04x"),
    "0x with commas": _hex_in(",", "#04x"),
    "0x with commas and spaces": _hex_in(", ", "#04x"),
    "0x in capitals": lambda value: _hex_in(", ", "#04x")(value).upper(),
    "hex in mixed case with colons": lambda value: _hex_in(":")(value).title(),
    "hex of od in lines": lambda value: "\n ".join(
        _hex_in(" ")(value[start : start + 16]) for start in range(0, len(value), 16)
    ),
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
