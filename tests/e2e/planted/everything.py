"""Every leak that is made."""

from __future__ import annotations

from . import (
    PLANTS,
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

GROUPS = (
    *(objects, helm, processes, output, http, image, etcd, audit, node, database, network),
    *(repository, access),
)

EVERYTHING = [
    plant for group in GROUPS for plant in PLANTS if plant.make.__module__ == group.__name__
]
