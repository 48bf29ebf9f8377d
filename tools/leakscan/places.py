"""Every place of the scan, in the order of the report."""

from __future__ import annotations

from . import (
    access,
    audit,
    database,
    etcd,
    helm,
    http,
    image,
    network,
    node,
    objects,
    output,
    processes,
    repository,
)
from .engine import REGISTERED, Place

GROUPS = (
    *(objects, helm, processes, output, http, image, etcd, audit, node, database, network),
    *(repository, access),
)

#: From within the cluster to what is around it.
PLACES: list[Place] = [
    place for group in GROUPS for place in REGISTERED if place.read.__module__ == group.__name__
]

#: Those that change by what happens in the cluster.
IN_CLUSTER = [place for place in PLACES if place.group not in ("image", "repository")]
