"""The service's image, as Docker has it."""

from __future__ import annotations

import json
from io import BufferedReader
from typing import Final

from .archive import as_file, entries, pieces
from .engine import Reading, Sample, Unreadable, place
from .target import Target

#: Where the packages are, which have to be among what was read.
PACKAGES: Final = "opt/venv/lib/"

#: The first bytes of gzip, bzip2, xz and Zstandard.
COMPRESSED: Final = (b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"\x28\xb5\x2f\xfd")


@place("image", "layers", slow=True)
def layers(target: Target) -> Reading:
    """Every file of every layer, deleted ones too, and the JSON beside them."""
    complete = False
    for part in entries(as_file(target.cluster.stream("docker", "save", target.image))):
        if not _is_archive(part.content):
            yield Sample(f"docker save: {part.name}", pieces(part.content))
            continue
        layer = part.name.removeprefix("blobs/sha256/")[:12]
        for file in entries(part.content):
            yield Sample(f"layer {layer}: /{file.name}", pieces(file.content))
            complete |= file.name.removeprefix("./").startswith(PACKAGES)
    if not complete:
        raise Unreadable(f"no layer has /{PACKAGES}")


@place("image", "history")
def history(target: Target) -> Reading:
    """The commands that made the layers, build arguments included."""
    command = ("docker", "history", "--no-trunc", "--format", "json", target.image)
    lines = target.cluster.run(*command).splitlines()
    for number, line in enumerate(lines, 1):
        if "CreatedBy" not in json.loads(line):
            raise Unreadable(f"entry {number} of the history has no command")
        yield Sample(f"docker history: entry {number} of {len(lines)}", line.encode())


@place("image", "configuration")
def configuration(target: Target) -> Reading:
    """What docker image inspect shows: variables, labels, commands."""
    (found,) = json.loads(target.cluster.run("docker", "image", "inspect", target.image))
    if not found["Config"]["Env"]:
        raise Unreadable("the image's configuration has no variables")
    for field, content in found.items():
        yield Sample(f"docker image inspect: {field}", json.dumps(content).encode())


def _is_archive(content: BufferedReader) -> bool:
    first = content.peek(512)
    return first.startswith(COMPRESSED) or first[257:262] == b"ustar"
