"""A stand-in for the Secrets Store CSI driver: root's files in a folder of the node's memory.

It writes them as the driver does, and where a provider fails it leaves what is there:
https://github.com/kubernetes-sigs/secrets-store-csi-driver, nodeserver.go and atomic_writer.go.
The folder is a hostPath, whose owner fsGroup does not change either.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import yaml

from tests.e2e.sources.source import Source

#: On the node, in memory.
FOLDER = "/run/secrets-store"

#: One generation: a new folder, links to it, one rename, and the old one goes.
WRITE = """
set -e
umask 077
mkdir -p {folder}
chmod 1777 {folder}
new=$(mktemp -d {folder}/..XXXXXXXX)
chmod 0755 "$new"
{files}
old=$(readlink {folder}/..data || true)
ln -s "$(basename "$new")" {folder}/..data_tmp
mv -T {folder}/..data_tmp {folder}/..data
for file in "$new"/*; do
  name=$(basename "$file")
  [ -L {folder}/"$name" ] || ln -s ..data/"$name" {folder}/"$name"
done
[ -z "$old" ] || rm -r {folder}/"$old"
"""
FILE = "printf '%s' '{value}' > \"$new\"/{name}\nchmod {mode:04o} \"$new\"/{name}"


class Driver(Source):
    """The driver, and the provider's objects."""

    values = (
        "secrets.source=csi",
        "secrets.objects.session=shop/session",
        "secrets.objects.database=shop/database",
        "secrets.vault.address=https://vault.example.org:8200",
        "secrets.vault.role=shop",
    )
    #: the provider's sentence would follow, with the key in it
    waiting = 'MountVolume.SetUp failed for volume "secrets"'
    #: the driver says nothing of a failed refresh
    refused = ""

    def begin(self) -> None:
        """Mount nothing, as the driver does when its provider fails."""
        cluster = self.release.cluster
        label = "pod-security.kubernetes.io/enforce=privileged"
        cluster.kubectl("label", "namespace", cluster.namespace, label, "--overwrite")
        volumes = self.deployment["spec"]["template"]["spec"]["volumes"]
        (place,) = [n for n, one in enumerate(volumes) if one["name"] == "secrets"]
        assert volumes[place]["csi"]["driver"] == "secrets-store.csi.k8s.io"
        volume = {"name": "secrets", "hostPath": {"path": FOLDER, "type": "Directory"}}
        path = f"/spec/template/spec/volumes/{place}"
        patch = [{"op": "replace", "path": path, "value": volume}]
        cluster.kubectl(
            *("patch", f"deployment/{cluster.fullname}", "--type=json"),
            *("--patch", json.dumps(patch)),
        )

    def bring(self) -> None:
        files = "\n".join(
            FILE.format(name=name, value=value, mode=mode)
            for name, (value, mode) in self._files().items()
        )
        self.release.cluster.node("sh", "-s", stdin=WRITE.format(folder=FOLDER, files=files))

    def forget(self) -> None:
        """Leave the files as they are, as the driver does when its provider fails."""

    def end(self) -> None:
        self.remove()
        self.release.cluster.node("rm", "-rf", FOLDER)
        label = "pod-security.kubernetes.io/enforce=restricted"
        cluster = self.release.cluster
        cluster.kubectl("label", "namespace", cluster.namespace, label, "--overwrite")

    def _files(self) -> dict[str, tuple[str, int]]:
        """Return each file's content and mode, as the SecretProviderClass has them."""
        cluster = self.release.cluster
        kind = "secretproviderclasses.secrets-store.csi.x-k8s.io"
        told = json.loads(cluster.kubectl("get", kind, cluster.fullname, "--output=json"))
        asked = yaml.safe_load(told["spec"]["parameters"]["objects"])
        files_of = {"vault": files_of_vault, "aws": files_of_aws}[told["spec"]["provider"]]
        return files_of(asked, self.manager.objects())


def files_of_vault(
    asked: list[dict[str, Any]], objects: Mapping[str, Mapping[str, str]]
) -> dict[str, tuple[str, int]]:
    """Return what Vault's provider makes of the objects: a file for each key."""
    return {
        one["objectName"]: (
            objects[one["secretPath"].removeprefix("secret/data/")][one["secretKey"]],
            one["filePermission"],
        )
        for one in asked
    }


def files_of_aws(
    asked: list[dict[str, Any]], objects: Mapping[str, Mapping[str, str]]
) -> dict[str, tuple[str, int]]:
    """Return what AWS's provider makes of the objects: a file for each, and for each key."""
    files = {}
    for one in asked:
        content = objects[one["objectName"]]
        files[one["objectAlias"]] = (json.dumps(dict(content)), int(one["filePermission"], 8))
        for key in one["jmesPath"]:
            mode = int(key["filePermission"], 8)
            files[key["objectAlias"]] = (content[key["path"].strip('"')], mode)
    return files
