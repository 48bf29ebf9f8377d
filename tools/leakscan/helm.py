"""What Helm keeps of the release, and what it tells of it."""

from __future__ import annotations

import base64
import gzip
import json
from typing import Any, Final

from .engine import Reading, Sample, Unreadable, place
from .target import Target

#: How the names of the Secrets begin in which Helm keeps revisions.
STORED: Final = "sh.helm.release.v1."

#: What `helm get` has beside `all`.
PARTS: Final = (("values", "--all"), ("notes",), ("hooks",), ("manifest",))


@place("helm", "revisions")
def revisions(target: Target) -> Reading:
    """Every revision in the release storage, unpacked, with the chart's files."""
    stored = {
        name.partition("/")[0]: value
        for name, value in target.reader.others().items()
        if name.startswith(STORED)
    }
    if not any(name.startswith(f"{STORED}{target.cluster.fullname}.v") for name in stored):
        raise Unreadable("there is no revision of the release")
    for name, packed in stored.items():
        release = unpacked(name, packed)
        yield Sample(name, json.dumps(release).encode())
        chart = release["chart"]
        for file in [*(chart.get("templates") or ()), *(chart.get("files") or ())]:
            yield Sample(f"{name}: {file['name']}", base64.b64decode(file["data"] or ""))
        yield Sample(f"{name}: values.schema.json", base64.b64decode(chart.get("schema") or ""))


@place("helm", "helm get")
def helm_get(target: Target) -> Reading:
    """What `helm get` prints: all of every revision, and each part of the current one."""
    release, namespace = target.cluster.fullname, ("--namespace", target.cluster.namespace)
    history = json.loads(
        target.cluster.run("helm", "history", release, *namespace, "--output", "json")
    )
    asked = [("all", "--revision", str(one["revision"])) for one in history]
    if not asked:
        raise Unreadable("helm tells of no revision")
    for part in (*asked, *PARTS):
        told = target.cluster.run("helm", "get", *part, release, *namespace)
        if part[0] == "manifest" and "kind: Deployment" not in told:
            raise Unreadable("the manifest has no Deployment")
        yield Sample(f"helm get {' '.join(part)}", told.encode())


def unpacked(name: str, packed: bytes) -> Any:
    """Return a revision as Helm sees it."""
    try:
        return json.loads(gzip.decompress(base64.b64decode(packed)))
    except (ValueError, OSError, EOFError):
        # what the error says would hold some of it
        raise Unreadable(f"{name} is not packed as Helm does it") from None
