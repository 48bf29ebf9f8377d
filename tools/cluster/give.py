"""Writes a secret whose value somebody else makes.

It is checked as the service does it, before it is stored anywhere. The value is never an argument
of a program, nor printed.
"""

from __future__ import annotations

import base64
import getpass
import json
import sys

from app.secret_keys import KEYS
from keeper.folder_secrets import FolderSecrets
from keeper.objects import Conflict, Unavailable
from secret_files import Key
from secret_files.key import parse
from tools.local.place import FOLDER, GIVEN_KEYS

from .client import RELEASE, Cluster


def give(name: str, cluster: Cluster | None) -> int:
    """Read the value, check it, write it, and return the exit status.

    :param cluster: where it is deployed; without one, it is for what `make run` serves.
    :return: 0 written, 1 refused or not written, 2 there is no such key.
    :raises Problem: kubectl fails.
    """
    key = next((key for key in KEYS if key.name == name), None)
    if key is None or key.name not in GIVEN_KEYS:
        print(unknown(name), file=sys.stderr)
        return 2
    content = read(key)
    if isinstance(fault := parse(key, content), str):
        print(f"{key.name} {fault}", file=sys.stderr)
        return 1
    try:
        print(store(key, content, cluster))
    except (Conflict, Unavailable) as problem:
        print(problem, file=sys.stderr)
        return 1
    return 0


def unknown(name: str) -> str:
    """Return what to do about a key that is not one to be given."""
    if not name:
        return "Which one? As in `make give KEY=MAIL_TOKEN`."
    known = f"of {', '.join(GIVEN_KEYS)}" if GIVEN_KEYS else "and there is none yet"
    return (
        f"{name} is no secret to be given: it has to be one of app/secret_keys.py and of "
        f"secrets.own.given in chart/values.yaml, {known}."
    )


def read(key: Key) -> bytes:
    """Return what stands in the input; on a terminal, ask for it."""
    if sys.stdin.isatty():
        return getpass.getpass(f"{key.name}: ").encode()
    return sys.stdin.buffer.read()


def store(key: Key, content: bytes, cluster: Cluster | None) -> str:
    """Write it, and return where it is now.

    :raises Problem: kubectl fails.
    :raises Unavailable: the folder can't be written.
    """
    if cluster:
        name = f"{RELEASE}-secrets"
        patch = {"data": {key.name: base64.b64encode(content).decode()}}
        arguments = ("patch", "secret", name, "--type", "merge", "--patch-file=/dev/stdin")
        cluster.ask(*cluster.command(*arguments), stdin=json.dumps(patch))
        return f"{key.name} is in the Secret {name}; every pod takes it without a restart."
    objects = FolderSecrets(FOLDER)
    objects.patch(objects.get("secrets"), {key.name: content.decode()})
    return f"{key.name} is in {FOLDER}/secrets; the service takes it without a restart."
