"""What the service is set to, from the environment (and `.env` for local work)."""

from __future__ import annotations

from dataclasses import dataclass

from .core.settings import CoreSettings, SettingsError
from .secret_keys import SECRET_NAMES

__all__ = ["Settings", "SettingsError"]


@dataclass(frozen=True)
class Settings(CoreSettings):
    """The template's settings, and yours: each is the environment variable of the same name.

    Yours are lines below, with `setting` and `convert` of the package `app.core`; PAGE_SIZE sets
    `page_size: int = setting("20", convert.whole_number(1, 100))`.
    """

    secret_names = SECRET_NAMES
