"""What becomes of the comments in values.yaml: the chart's README and its schema."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from chart import docs

SAMPLE = """\
# Free text that goes nowhere.

## Pods

# How many pods
# serve requests.
#
# Two where it is null.
# @schema {type: [integer, "null"], minimum: 0}
replicas: null

# @definitions {size: {type: string,
#   pattern: "^[0-9]+Gi$"}}

# @definitions {policy: {enum: [Always, Never]}}

image:
  # The tag; `a|b` is none.
  # @schema {not: {const: latest}}
  tag: ""
  # When it is pulled.
  # @schema {$ref: "#/definitions/policy"}
  pullPolicy: Always

# What each pod may use.
# @schema {type: object}
resources:
  requests:
    # Not a value of its own.
    cpu: 50m

## The rest
# Where the notes are stored.
storage:
  # Its size.
  # @schema {$ref: "#/definitions/size"}
  size: 1Gi
  # Is it kept?
  keep: true

# Annotations of the pods.
annotations: {}
# Secrets of a registry.
# @schema {items: {type: object, required: [name],
#          properties: {name: {type: string}}}}
pullSecrets: []
# A share: é.
share: 0.5
# How much is logged.
# @schema {enum: [INFO, "", null]}
level: INFO
"""
TEMPLATE = "# A chart\n\n<!-- values -->\n\nThe end.\n"


def properties(text: str) -> dict[str, Any]:
    found = json.loads(docs.schema(text))["properties"]
    assert isinstance(found, dict)
    return found


def one(comment: str, value: str) -> str:
    """Return a values.yaml with the value `it`."""
    return f"## All\n\n{comment}\nit: {value}\n"


def test_the_schema_is_closed_and_named() -> None:
    text = docs.schema(SAMPLE)
    made = json.loads(text)
    assert made["$schema"] == "http://json-schema.org/draft-07/schema#"
    assert made["title"] == "Values of the flask-app chart"
    assert (made["type"], made["additionalProperties"]) == ("object", False)
    assert made["definitions"] == {
        "size": {"type": "string", "pattern": "^[0-9]+Gi$"},
        "policy": {"enum": ["Always", "Never"]},
    }
    assert text == json.dumps(made, indent=2, ensure_ascii=False) + "\n"
    assert "é" in text


def test_what_may_not_be_null_is_required() -> None:
    """Helm takes a key that somebody sets to null away, before the schema sees it."""
    made = json.loads(docs.schema(SAMPLE))
    assert "replicas" not in made["required"]
    assert set(made["required"]) >= {"image", "resources", "annotations", "share"}
    assert made["properties"]["image"]["required"] == ["tag", "pullPolicy"]
    assert "required" not in json.loads(
        docs.schema(one('# It.\n# @schema {type: [string, "null"]}', "null"))
    )


def test_the_schema_keeps_the_order_of_the_values() -> None:
    names = "replicas image resources storage annotations pullSecrets share level"
    assert list(properties(SAMPLE)) == names.split()


def test_no_definitions_are_made_up() -> None:
    assert "definitions" not in json.loads(docs.schema(one("# It.", "1")))


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        ("true", "boolean"),
        ("1", "integer"),
        ("1.5", "number"),
        ("a", "string"),
        ("[a]", "array"),
        ("{}", "object"),
    ],
)
def test_the_type_follows_from_the_default(value: str, kind: str) -> None:
    made = properties(one("# It.", value))["it"]
    assert list(made) == ["type", "description", "default"]
    assert made["type"] == kind


def test_keywords_go_over_what_was_inferred() -> None:
    assert properties(SAMPLE)["replicas"] == {
        "type": ["integer", "null"],
        "minimum": 0,
        "description": "How many pods serve requests. Two where it is null.",
        "default": None,
    }


def test_a_mapping_is_descended_into_and_closed() -> None:
    made = properties(SAMPLE)
    assert made["storage"]["description"] == "Where the notes are stored."
    assert "description" not in made["image"]
    for name in ("storage", "image"):
        assert (made[name]["type"], made[name]["additionalProperties"]) == ("object", False)
    assert made["image"]["properties"]["tag"] == {
        "type": "string",
        "not": {"const": "latest"},
        "description": "The tag; `a|b` is none.",
        "default": "",
    }


def test_a_mapping_may_have_keywords_too() -> None:
    text = "## All\n\n# @schema {minProperties: 1}\nit:\n  # One.\n  one: 1\n"
    made = properties(text)["it"]
    assert made["minProperties"] == 1
    assert list(made["properties"]) == ["one"]


def test_a_mapping_with_a_type_is_a_leaf_as_it_is_written() -> None:
    assert properties(SAMPLE)["resources"] == {
        "type": "object",
        "description": "What each pod may use.",
        "default": {"requests": {"cpu": "50m"}},
    }


def test_a_mapping_with_a_reference_is_a_leaf() -> None:
    text = one('# It.\n# @schema {$ref: "#/definitions/any"}', "\n  one: 1")
    text = "# @definitions {any: {type: object}}\n\n" + text
    assert docs.leaves(text) == ["it"]
    assert properties(text)["it"] == {
        "allOf": [{"$ref": "#/definitions/any"}],
        "description": "It.",
        "default": {"one": 1},
    }


def test_a_mapping_of_any_keys_is_a_leaf() -> None:
    text = one("# It.\n# @schema {additionalProperties: {type: string}}", "\n  any: a")
    assert docs.leaves(text) == ["it"]
    assert properties(text)["it"]["default"] == {"any": "a"}


def test_an_empty_mapping_is_open() -> None:
    made = properties(SAMPLE)["annotations"]
    assert made == {"type": "object", "description": "Annotations of the pods.", "default": {}}


def test_nothing_stands_next_to_a_reference() -> None:
    more = 'definitions/size", maxLength: 9, allOf: [{minLength: 2}]}'
    made = properties(SAMPLE.replace('definitions/size"}', more))
    assert made["storage"]["properties"]["size"] == {
        "maxLength": 9,
        "allOf": [{"$ref": "#/definitions/size"}, {"minLength": 2}],
        "description": "Its size.",
        "default": "1Gi",
    }


def test_the_leaves_are_the_dotted_paths() -> None:
    assert docs.leaves(SAMPLE) == [
        "replicas",
        "image.tag",
        "image.pullPolicy",
        "resources",
        "storage.size",
        "storage.keep",
        "annotations",
        "pullSecrets",
        "share",
        "level",
    ]


def test_the_readme_has_a_table_for_each_section() -> None:
    assert docs.readme(SAMPLE, TEMPLATE) == (
        """\
<!-- Made by `make chart-docs` from values.yaml and README.template.md. -->

# A chart

### Pods

| value | default | description |
| --- | --- | --- |
| `replicas` | `null` | How many pods serve requests.<br>Two where it is null. |
| `image.tag` | `""` | The tag; `a\\|b` is none. |
| `image.pullPolicy` | `"Always"` | When it is pulled. One of `Always`, `Never`. |
| `resources` | `{"requests":{"cpu":"50m"}}` | What each pod may use. |

### The rest

| value | default | description |
| --- | --- | --- |
| `storage` | | Where the notes are stored. |
| `storage.size` | `"1Gi"` | Its size. |
| `storage.keep` | `true` | Is it kept? |
| `annotations` | `{}` | Annotations of the pods. |
| `pullSecrets` | `[]` | Secrets of a registry. |
| `share` | `0.5` | A share: é. |
| `level` | `"INFO"` | How much is logged. One of `INFO`, `""`, `null`. |

The end.
"""
    )


def test_a_default_is_escaped_for_its_cell() -> None:
    assert '| `it` | `"a\\|b"` | It. |\n' in docs.readme(one("# It.", "a|b"), TEMPLATE)


def test_another_word_gives_another_readme_and_schema() -> None:
    turned = SAMPLE.replace("Is it kept?", "Is it not lost?")
    assert docs.readme(turned, TEMPLATE) != docs.readme(SAMPLE, TEMPLATE)
    assert docs.schema(turned) != docs.schema(SAMPLE)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the file is no mapping"),
        ("- a", "the file is no mapping"),
        ("a: [", "the file is no YAML: while parsing"),
        ("# It.\nit: 1\n", "it is in no section"),
        (one("", "1"), "it has no description"),
        (one("# @schema {minimum: 0}", "1"), "it has no description"),
        (one("# Of nobody.\n", "1"), "it has no description"),
        (one("  # Of nobody.", "1"), "it has no description"),
        (one("# @definitions {a: {}}", "1"), "it has no description"),
        (one("", "{}"), "it has no description"),
        (one("# Of `it` only.", "\n  one: 1"), "it.one has no description"),
        (one("# It.", "null"), "it needs a type"),
        (one("# It.\n# @schema {minimum: 0}", "null"), "it needs a type"),
        (one("# It.\n# @schema [1]", "1"), "the @schema of it is no mapping"),
        (one("# It.\n# @schema", "1"), "the @schema of it is no mapping"),
        (one("# It.\n# @schema {minimum: 0", "1"), "the @schema of it is no YAML: while parsing"),
        (one("# It.\n# @schema {minimum: 0}\n# More.", "1"), "the @schema of it is no YAML"),
        (one("# It.\n# @schema {minium: 0}", "1"), "the @schema of it .*'minium'"),
        (one("# It.\n# @schema {items: {minium: 0}}", "[]"), "the @schema of it .*'minium'"),
        (one("# It.\n# @schema {minimum: low}", "1"), "the @schema of it .*'low'"),
        (one("# It.\n# @schema {type: int}", "1"), "the @schema of it .*'int'"),
        (one("# It.\n# @schema {pattern: '('}", "a"), "the @schema of it .*'regex'"),
        (one('# It.\n# @schema {$ref: "#/definitions/a"}', "1"), "the @schema of it refers to"),
        (one('# It.\n# @schema {items: {$ref: "#/definitions/a"}}', "[]"), "of it refers to"),
        (one("# It.\n# @schema {minimum: 2}", "1"), "it has a default .*minimum of 2"),
        (one("# It.\n# @schema {items: {type: string}}", "[1]"), "it.0 has a default .*'string'"),
        ("# @definitions [1]\n\n" + one("# It.", "1"), "the @definitions comment is no mapping"),
        ("# @definitions {\n\n" + one("# It.", "1"), "the @definitions comment is no YAML"),
        ("# @definitions {a: {minium: 1}}\n\n" + one("# It.", "1"), "@definitions .*'minium'"),
        (
            '# @definitions {a: {$ref: "#/definitions/b"}}\n\n' + one("# It.", "1"),
            "the @definitions comment refers to #/definitions/b",
        ),
    ],
)
def test_what_cannot_be_used_is_refused(text: str, message: str) -> None:
    with pytest.raises(docs.DocsError, match=message) as raised:
        docs.schema(text)
    assert "\n" not in str(raised.value)


def test_a_default_may_not_break_the_rules_of_its_mapping() -> None:
    text = "## All\n\n# @schema {minProperties: 2}\nit:\n  # One.\n  one: 1\n"
    with pytest.raises(docs.DocsError, match=r"^it has a default"):
        docs.schema(text)


def test_a_template_without_the_marker_is_refused() -> None:
    with pytest.raises(docs.DocsError, match="no line <!-- values -->"):
        docs.readme(SAMPLE, "# A chart\n")


def run(folder: Path, values: str) -> subprocess.CompletedProcess[str]:
    """Run a copy of the generator that lies in a folder of its own."""
    (folder / "chart").mkdir()
    shutil.copy(docs.__file__, folder / "chart")
    (folder / "chart/values.yaml").write_text(values, "utf-8")
    (folder / "chart/README.template.md").write_text(TEMPLATE, "utf-8")
    command = [sys.executable, "-m", "chart.docs"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


def test_the_program_writes_both_files(tmp_path: Path) -> None:
    done = run(tmp_path, SAMPLE)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    made = tmp_path / "chart"
    assert (made / "README.md").read_text("utf-8") == docs.readme(SAMPLE, TEMPLATE)
    assert (made / "values.schema.json").read_text("utf-8") == docs.schema(SAMPLE)


def test_the_program_says_what_is_wrong_and_writes_nothing(tmp_path: Path) -> None:
    done = run(tmp_path, one("", "1"))
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "chart/values.yaml: it has no description\n"
    assert not (tmp_path / "chart/README.md").exists()
    assert not (tmp_path / "chart/values.schema.json").exists()
