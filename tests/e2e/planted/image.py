"""Leaks in an image, which is built with all of them before it is looked at."""

from __future__ import annotations

import base64
import gzip
import os
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from tools.leakscan.target import Target

from . import plants

DOCKERFILE = """
FROM {image}
USER 0:0
COPY planted /srv/planted
RUN rm /srv/planted
ARG PLANTED
RUN test -n "$PLANTED"
USER 10001:10001
"""


# what docker save gives beside the layers has the history and the configuration again


@plants("image: layers")
def deleted_file(target: Target, canary: str) -> Iterator[None]:
    """A file of a layer, which the next layer deletes."""
    yield from _built(target)


@plants("image: history", also=("image: layers",))
def build_argument(target: Target, canary: str) -> Iterator[None]:
    """A build argument."""
    yield from _built(target)


@plants("image: configuration", also=("image: layers",))
def label(target: Target, canary: str) -> Iterator[None]:
    """A label."""
    yield from _built(target)


def leaky_image(image: str, tag: str, canaries: Mapping[str, str]) -> None:
    """Build an image on another, with a leak in each place.

    :param tag: the new image's whole name, which has to hold "leaky".
    :param canaries: by the names of the plants.
    """
    packed = gzip.compress(canaries["image deleted_file"].encode())
    argument = canaries["image build_argument"].encode().hex()
    labelled = base64.b64encode(canaries["image label"].encode()).decode()
    with tempfile.TemporaryDirectory() as context:
        Path(context, "planted").write_bytes(base64.b64encode(packed))
        subprocess.run(
            [
                *("docker", "build", "--quiet", "--file", "-", "--tag", tag),
                # with no value: that is in the environment
                *("--build-arg", "PLANTED", "--label", f"planted={labelled}", context),
            ],
            input=DOCKERFILE.format(image=image),
            env={**os.environ, "PLANTED": argument},
            check=True,
            capture_output=True,
            text=True,
        )


def _built(target: Target) -> Iterator[None]:
    assert "leaky" in target.image, "that is not what leaky_image builds"
    yield
