"""A stand-in for Vault's command line: the commands of docs/external, over Vault's HTTP API.

Vault's own program can't be had from a package registry. This one takes the syntax that the pages
use, and reads values as Vault's does: `-` is standard input and `@file` a file, each as it is, with
the line break at its end. What it does not know it refuses, so that a misspelt command fails.
https://developer.hashicorp.com/vault/docs/commands
"""

from __future__ import annotations

import json
import os
import ssl
import sys
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

Values = dict[str, Any]


class Wrong(Exception):
    """What is wrong with a command, or what Vault said to it."""


def ask(method: str, path: str, body: Values | None = None) -> Values:
    """Ask the server that VAULT_ADDR names."""
    content = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(
        f"{os.environ['VAULT_ADDR']}/v1/{path}", data=content, method=method
    )
    context = ssl.create_default_context(cafile=os.environ.get("VAULT_CACERT"))
    try:
        with urllib.request.urlopen(request, timeout=20, context=context) as answer:
            found: Values = json.loads(answer.read() or "{}")
            return found
    except urllib.error.HTTPError as error:
        said = json.loads(error.read())["errors"]
        raise Wrong(f"{method} {path}: code {error.code}, {said}") from None


def content_of(word: str) -> str:
    """Return what a value stands for."""
    if word == "-":
        return sys.stdin.read()
    if word.startswith("@"):
        return Path(word[1:]).read_text("utf-8")
    return word.removeprefix("\\") if word.startswith("\\@") else word


def values_of(words: list[str]) -> Values:
    """Return the values of `key=value`, of `key=-`, and of `-`, which is JSON."""
    values: Values = {}
    for word in words:
        key, equals, value = word.partition("=")
        if equals:
            if key in values:
                raise Wrong(f"{key} is there twice")
            values[key] = content_of(value)
        elif word == "-" or word.startswith("@"):
            values |= json.loads(content_of(word))
        else:
            raise Wrong(f"invalid key/value pair {word!r}: format must be key=value")
    return values


def flags_of(words: list[str], *known: str) -> tuple[dict[str, str], list[str]]:
    """Return the flags, which come first, and the rest."""
    flags = {}
    while words and words[0].startswith("-") and words[0] != "-":
        name, _, value = words.pop(0).lstrip("-").partition("=")
        if name not in known:
            raise Wrong(f"flag provided but not defined: -{name}")
        flags[name] = value
    return flags, words


def only(words: list[str], count: int) -> list[str]:
    """Return the arguments; there have to be so many."""
    if len(words) != count:
        raise Wrong(f"{count} arguments are expected, not {len(words)}: {words}")
    return words


def enable(kind: str) -> Callable[[list[str]], None]:
    """Return what enables an auth method or an engine, each at the path of its name."""

    def run(words: list[str]) -> None:
        (name,) = only(words, 1)
        ask("POST", f"sys/{kind}/{name}", {"type": name})

    return run


def policy_write(words: list[str]) -> None:
    name, file = only(words, 2)
    text = content_of("-" if file == "-" else f"@{file}")
    ask("PUT", f"sys/policies/acl/{name}", {"policy": text})


def write(words: list[str]) -> None:
    flags, words = flags_of(words, "force", "f")
    if not words or not (flags or words[1:]):
        raise Wrong("must supply data or use -force")
    ask("PUT", words[0], values_of(words[1:]))


def kv(method: str) -> Callable[[list[str]], None]:
    """Return what writes an object of the KV engine, all of it or some of its keys."""

    def run(words: list[str]) -> None:
        flags, words = flags_of(words, "mount")
        if len(words) < 2:
            raise Wrong("must supply data")
        ask(method, f"{flags['mount']}/data/{words[0]}", {"data": values_of(words[1:])})

    return run


def kv_get(words: list[str]) -> None:
    flags, words = flags_of(words, "mount", "format")
    if flags.get("format") != "json":
        raise Wrong("only -format=json is known here")
    (path,) = only(words, 1)
    print(json.dumps(ask("GET", f"{flags['mount']}/data/{path}"), indent=2))


COMMANDS: Final[dict[tuple[str, ...], Callable[[list[str]], None]]] = {
    ("auth", "enable"): enable("auth"),
    ("secrets", "enable"): enable("mounts"),
    ("policy", "write"): policy_write,
    ("write",): write,
    ("kv", "put"): kv("PUT"),
    ("kv", "patch"): kv("PATCH"),
    ("kv", "get"): kv_get,
}


def main(words: list[str]) -> None:
    """Run one command.

    :raises Wrong: it is none, or Vault refuses.
    """
    for names, command in COMMANDS.items():
        if tuple(words[: len(names)]) == names:
            return command(words[len(names) :])
    raise Wrong(f"not known here: vault {' '.join(words[:2])}")


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except (Wrong, KeyError, OSError, ValueError) as error:
        sys.exit(f"vault: {error or type(error).__name__}")
