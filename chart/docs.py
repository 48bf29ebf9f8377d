"""Makes the chart's README.md and values.schema.json out of the comments in values.yaml.

A line `## Title` begins a section. The comment right above a value describes it in Markdown; from
a line `# @schema {…}` on, it is a flow mapping of JSON Schema keywords, which are merged over what
follows from the default. A mapping is descended into unless they have a `type`, a `$ref` or
`additionalProperties`. What a `$ref` names is in a comment of its own that begins with
`# @definitions {…}`.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml
from jsonschema import Draft7Validator
from jsonschema.exceptions import best_match

FOLDER: Final = Path(__file__).parent
TITLE: Final = "Values of the flask-app chart"
MARKER: Final = "<!-- values -->"
NOTICE: Final = "<!-- Made by `make chart-docs` from values.yaml and README.template.md. -->"

Schema = dict[str, Any]

_TYPES: Final = {
    bool: "boolean",
    int: "integer",
    float: "number",
    str: "string",
    list: "array",
    dict: "object",
}
#: A mapping with one of these keywords has keys of the user's.
_OF_LEAVES: Final = {"type", "$ref", "additionalProperties"}
_REFERENCE: Final = "#/definitions/"
_DEFINITIONS: Final = re.compile(r"^# @definitions(.*(?:\n#(?!# ).*)*)", re.MULTILINE)
# draft-07's own schema lets unknown keywords pass, and with them every typo
_META: Final = Draft7Validator(
    Draft7Validator.META_SCHEMA | {"additionalProperties": False},
    format_checker=Draft7Validator.FORMAT_CHECKER,
)


class DocsError(Exception):
    """The comments or the template say what cannot be used; the message says which and why."""


@dataclass(frozen=True)
class Value:
    """A value, or a mapping of values, as values.yaml describes it."""

    #: Its keys, joined by dots.
    path: str
    section: str
    default: Any
    #: What its comment says: the paragraphs, and the keywords of its @schema.
    paragraphs: list[str]
    keywords: Schema
    #: The values inside; none: it is a leaf.
    entries: list[Value]


def schema(values_text: str) -> str:
    """Return the JSON Schema of a values.yaml.

    :raises DocsError: a comment is missing or wrong, or a default does not fit its own schema.
    """
    values, definitions = _read(values_text)
    made: Schema = {"$schema": Draft7Validator.META_SCHEMA["$id"], "title": TITLE}
    made |= _mapping(values, definitions)
    if definitions:
        made["definitions"] = definitions
    refused = best_match(Draft7Validator(made).iter_errors(yaml.safe_load(values_text)))
    if refused:
        path = ".".join(map(str, refused.absolute_path))
        raise DocsError(f"{path} has a default that its own schema refuses: {refused.message}")
    return json.dumps(made, indent=2, ensure_ascii=False) + "\n"


def readme(values_text: str, template: str) -> str:
    """Return a README: the template, with tables of the values where its marker is.

    :raises DocsError: a comment is missing or wrong, or the marker is missing.
    """
    values, definitions = _read(values_text)
    tables: dict[str, list[str]] = {}
    for value in _walk(values):
        head = ["| value | default | description |", "| --- | --- | --- |"]
        table = tables.setdefault(value.section, head)
        if value.paragraphs:
            table.append(_row(value, definitions))
    lines = template.splitlines()
    if MARKER not in lines:
        raise DocsError(f"README.template.md has no line {MARKER}")
    lines[lines.index(MARKER)] = "\n\n".join(
        "\n".join([f"### {title}", "", *table]) for title, table in tables.items()
    )
    return "\n".join([NOTICE, "", *lines]) + "\n"


def leaves(values_text: str) -> list[str]:
    """Return the dotted path of every value that has no described values inside.

    :raises DocsError: a comment is missing or wrong.
    """
    return [value.path for value in _walk(_read(values_text)[0]) if not value.entries]


def main() -> None:
    """Write both files next to this one."""
    values_text = (FOLDER / "values.yaml").read_text("utf-8")
    template = (FOLDER / "README.template.md").read_text("utf-8")
    try:
        made = {
            "values.schema.json": schema(values_text),
            "README.md": readme(values_text, template),
        }
    except DocsError as error:
        sys.exit(f"chart/values.yaml: {error}")
    for name, text in made.items():
        (FOLDER / name).write_text(text, "utf-8")


def _read(text: str) -> tuple[list[Value], Schema]:
    """Return the values of a values.yaml, and the definitions that their schemas refer to."""
    defaults = _loaded(text, "the file")
    node: Any = yaml.compose(text, yaml.SafeLoader)
    values = _values(text.splitlines(), node, defaults)
    definitions: Schema = {}
    for found in _DEFINITIONS.finditer(text):
        definitions |= _loaded(found[1].replace("\n#", "\n"), "the @definitions comment")
    _check({"definitions": definitions}, "the @definitions comment", definitions)
    for value in _walk(values):
        _check(value.keywords, f"the @schema of {value.path}", definitions)
    return values, definitions


def _loaded(text: str, what: str) -> dict[str, Any]:
    try:
        loaded = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise DocsError(f"{what} is no YAML: {' '.join(str(error).split())}") from None
    if not isinstance(loaded, dict):
        raise DocsError(f"{what} is no mapping")
    return loaded


def _check(keywords: Schema, what: str, definitions: Schema) -> None:
    """Raise an error unless these are keywords of JSON Schema that refer to definitions."""
    wrong = best_match(_META.iter_errors(keywords))
    if wrong:
        raise DocsError(f"{what} is no JSON Schema: {wrong.message}")
    for reference in _references(keywords):
        if reference not in {_REFERENCE + name for name in definitions}:
            raise DocsError(f"{what} refers to {reference}, which is not defined")


def _values(
    lines: list[str], node: yaml.MappingNode, defaults: dict[str, Any], above: Value | None = None
) -> list[Value]:
    values = []
    for key, inside in node.value:
        path = f"{above.path}.{key.value}" if above else key.value
        line = key.start_mark.line
        section = above.section if above else _section(lines[:line], path)
        paragraphs, keywords = _parts(_comment(lines, line, key.start_mark.column), path)
        value = Value(path, section, defaults[key.value], paragraphs, keywords, [])
        if isinstance(value.default, dict) and not keywords.keys() & _OF_LEAVES:
            value.entries.extend(_values(lines, inside, value.default, value))
        if not value.entries and not paragraphs:
            raise DocsError(f"{path} has no description")
        values.append(value)
    return values


def _comment(lines: list[str], end: int, column: int) -> list[str]:
    """Return the lines of the comment that ends right above a line, without their `#`."""
    start = end
    while start and re.match(rf" {{{column}}}#(?!# )", lines[start - 1]):
        start -= 1
    return [line[column + 1 :].strip() for line in lines[start:end]]


def _section(above: list[str], path: str) -> str:
    for line in reversed(above):
        if line.startswith("## "):
            return line[3:].strip()
    raise DocsError(f"{path} is in no section: a line `## Title` has to be above it")


def _parts(comment: list[str], path: str) -> tuple[list[str], Schema]:
    """Return the paragraphs and the keywords in a value's comment."""
    marks = (n for n, line in enumerate(comment) if line.startswith(("@schema", "@definitions")))
    end = next(marks, len(comment))
    paragraphs = "\n".join(comment[:end]).split("\n\n")
    rest = "\n".join(comment[end:])
    keywords = {}
    if rest.startswith("@schema"):
        keywords = _loaded(rest.removeprefix("@schema"), f"the @schema of {path}")
    return [" ".join(text.split()) for text in paragraphs if text.strip()], keywords


def _references(part: Any) -> Iterator[str]:
    if isinstance(part, dict):
        if "$ref" in part:
            yield part["$ref"]
        part = list(part.values())
    if isinstance(part, list):
        for inside in part:
            yield from _references(inside)


def _walk(values: Iterable[Value]) -> Iterator[Value]:
    for value in values:
        yield value
        yield from _walk(value.entries)


def _mapping(values: list[Value], definitions: Schema) -> Schema:
    properties = {value.path.rpartition(".")[2]: _property(value, definitions) for value in values}
    made: Schema = {"type": "object", "additionalProperties": False, "properties": properties}
    # Helm takes a key that somebody sets to null away, and the default with it
    required = [
        name
        for name, part in properties.items()
        if not Draft7Validator(part | {"definitions": definitions}).is_valid(None)
    ]
    return made | {"required": required} if required else made


def _property(value: Value, definitions: Schema) -> Schema:
    about = {"description": " ".join(value.paragraphs)} if value.paragraphs else {}
    if value.entries:
        return _mapping(value.entries, definitions) | value.keywords | about
    made = dict(value.keywords)
    if "$ref" in made:
        # draft-07 ignores whatever stands next to a $ref
        made["allOf"] = [{"$ref": made.pop("$ref")}, *made.get("allOf", [])]
    elif "type" not in made:
        if type(value.default) not in _TYPES:
            raise DocsError(f"{value.path} needs a type in its @schema: its default has none")
        made = {"type": _TYPES[type(value.default)]} | made
    return made | about | {"default": value.default}


def _row(value: Value, definitions: Schema) -> str:
    default = "" if value.entries else f" `{_compact(value.default)}`"
    text = "<br>".join(value.paragraphs)
    referred = definitions.get(value.keywords.get("$ref", "").removeprefix(_REFERENCE), {})
    choices = value.keywords.get("enum", referred.get("enum"))
    if choices:
        shown = (one if one and isinstance(one, str) else _compact(one) for one in choices)
        text += f" One of {', '.join(f'`{one}`' for one in shown)}."
    cells = (f" `{value.path}`", default, f" {text}")
    return "|" + "".join(cell.replace("|", "\\|") + " |" for cell in cells)


def _compact(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


if __name__ == "__main__":
    main()
