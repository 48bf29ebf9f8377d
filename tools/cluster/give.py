"""``python -m tools.cluster.give KEY``: writes a secret whose value somebody else makes.

It is checked as the service does it, before it is stored anywhere. The value is never an argument
of a program, nor printed. Exit status: 0 written, 1 refused or not written, 2 there is no such key.
"""

from __future__ import annotations

import argparse
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

from .commands import RELEASE, Problem, kubectl


def main() -> int:
    """Read the value, check it, write it, and return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tools.cluster.give", description=__doc__)
    parser.add_argument("key")
    parser.add_argument("--deployed", action="store_true", help="not into what `make run` serves")
    arguments = parser.parse_args()
    key = next((key for key in KEYS if key.name == arguments.key), None)
    if key is None or key.name not in GIVEN_KEYS:
        print(unknown(arguments.key), file=sys.stderr)
        return 2
    try:
        content = read(key)
        if not isinstance(fault := parse(key, content), str):
            print(store(key, content, arguments.deployed))
            return 0
        print(f"{key.name} {fault}", file=sys.stderr)
    except (Conflict, Problem, Unavailable) as problem:
        print(problem, file=sys.stderr)
    except KeyboardInterrupt:
        return 130
    return 1


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


def store(key: Key, content: bytes, is_deployed: bool) -> str:
    """Write it, and return where it is now.

    :raises Problem: kubectl fails.
    :raises Unavailable: the folder can't be written.
    """
    if is_deployed:
        name = f"{RELEASE}-secrets"
        patch = {"data": {key.name: base64.b64encode(content).decode()}}
        arguments = ("patch", "secret", name, "--type", "merge", "--patch-file=/dev/stdin")
        kubectl(*arguments, stdin=json.dumps(patch))
        return f"{key.name} is in the Secret {name}; every pod takes it without a restart."
    objects = FolderSecrets(FOLDER)
    objects.patch(objects.get("secrets"), {key.name: content.decode()})
    return f"{key.name} is in {FOLDER}/secrets; the service takes it without a restart."


if __name__ == "__main__":
    sys.exit(main())
