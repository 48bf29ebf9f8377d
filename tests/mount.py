"""A Secret on disk, for tests that need one."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from app.secret_keys import KEYS
from keeper.certificates import KeyPair
from keeper.folder_secrets import FolderSecrets

#: Made for these tests, and valid: long enough, and no placeholder.
SECRETS = {
    "SECRET_KEY": "Zk3-unit-test-signing-key-4f1c9a7be2",  # pragma: allowlist secret
    "SECRET_KEY_FALLBACKS": "",
    "DATABASE_USERNAME": "flask_app_a",
    "DATABASE_PASSWORD": "pW-9f81c7/unit+pass%word",  # pragma: allowlist secret
    "GENERATION": "1700000000",
}
#: And as much of the service's own keys.
OWN = {key.name: f"{key.name}-unit-4f1c9a7be2d36a85c0f7" for key in KEYS if key.name not in SECRETS}
SECRETS |= OWN


def write_certificate(folder: Path, pair: KeyPair) -> None:
    folder.mkdir(exist_ok=True)
    (folder / "tls.key").write_text(pair.key)
    (folder / "tls.crt").write_text(pair.certificate)


class Mount:
    """A Secret as the kubelet mounts it, and the one who changes it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._objects = FolderSecrets(folder.parent)

    def write(self, values: Mapping[str, str]) -> None:
        """Swap in a generation in which these values are changed."""
        self._objects.patch(self._objects.get(self.folder.name), values)

    def tamper(self, name: str, content: bytes | None) -> Path:
        """Change a file in place, or remove it with None; return its path."""
        path = self.folder / "..data" / name
        path.unlink(missing_ok=True)
        if content is not None:
            path.write_bytes(content)
            path.chmod(0o400)
        return self.folder / name
