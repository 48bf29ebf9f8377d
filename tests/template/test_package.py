"""The package can be copied out of this project, and docs/secret-files.md says how."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from secret_files import Folder, Key, SecretError
from tests.mount import Mount

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "secret-files.md"
TOKEN = "Zk3-a-token-of-this-test-4f1c"
CHANGED = "Zk3-another-token-of-it-9a03"

#: What comes after the page's lines: the token in a log line, a change, and the new one there.
USE = """
import pathlib, sys, time
folder = pathlib.Path(sys.argv[1])
logging.info("the token is %s", token)
(folder / "..data_tmp").symlink_to(sys.argv[2])
(folder / "..data_tmp").replace(folder / "..data")
time.sleep(1.1)
changed = store.current()["API_TOKEN"].reveal()
logging.info("now it is %s", changed)
print(token, changed)
raise ValueError(changed)
"""


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    """Return a folder that has a copy of the package, and nothing else."""
    package = ROOT / "secret_files"
    shutil.copytree(package, tmp_path / "copy" / "secret_files")
    return tmp_path / "copy"


def the_ten_lines() -> str:
    found = re.search(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert found
    return found[1]


def test_ten_lines_are_ten() -> None:
    assert len([line for line in the_ten_lines().splitlines() if line]) == 10


def test_the_lines_on_the_page_read_follow_and_redact(copied: Path, tmp_path: Path) -> None:
    mount = Mount(tmp_path / "secrets")
    mount.write({"API_TOKEN": TOKEN})
    following = Mount(tmp_path / "following")
    following.write({"API_TOKEN": CHANGED})
    shutil.copytree(following.folder / "..data", mount.folder / "..changed")
    lines = the_ten_lines().replace("/etc/secrets", str(mount.folder))
    (copied / "service.py").write_text(lines + USE)
    ran = subprocess.run(
        [sys.executable, "-E", "service.py", str(mount.folder), "..changed"],
        cwd=copied,
        capture_output=True,
        text=True,
    )
    assert ran.stdout.split() == [TOKEN, CHANGED]
    assert ran.stderr.splitlines()[0] == "the token is [redacted]"
    assert "now it is [redacted]" in ran.stderr
    assert "ValueError: [redacted]" in ran.stderr
    assert TOKEN not in ran.stderr
    assert CHANGED not in ran.stderr
    assert ran.returncode == 1


def the_volume() -> dict[str, Any]:
    """Return the one volume of the page's YAML."""
    found = re.findall(r"```yaml\n(.*?)```", PAGE.read_text(), re.DOTALL)
    (block,) = found
    (volume,) = yaml.safe_load(block)["volumes"]
    return dict(volume)


def test_the_volume_on_the_page_is_one_of_a_whole_secret() -> None:
    volume = the_volume()
    mount = {"name": volume["name"], "mountPath": "/etc/secrets"}
    container = {"name": "service", "image": "service:1", "volumeMounts": [mount]}
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "service"},
        "spec": {"containers": [container], "volumes": [volume]},
    }
    assert kubernetes_validate.validate(pod, "1.37", strict=True) == "1.37"
    assert volume["secret"].keys() == {"secretName", "defaultMode"}


def test_a_secret_with_the_mode_on_the_page_is_read_and_with_the_default_refused(
    tmp_path: Path,
) -> None:
    mount = Mount(tmp_path / "secrets")
    mount.write({"API_TOKEN": TOKEN})
    file = mount.folder / "..data" / "API_TOKEN"
    folder = Folder(mount.folder, [Key("API_TOKEN", min_bytes=20)])
    file.chmod(the_volume()["secret"]["defaultMode"])
    assert folder.read()["API_TOKEN"].reveal() == TOKEN
    file.chmod(0o644)
    with pytest.raises(SecretError):
        folder.read()
