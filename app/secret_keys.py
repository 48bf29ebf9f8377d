"""What the service needs in its Secret; README.md says what each is for.

A key of your own goes to the end: docs/your-service.md has the steps.
"""

from __future__ import annotations

from typing import Final

from secret_files import Key

KEYS: Final = (
    Key("SECRET_KEY", min_bytes=32),
    Key("SECRET_KEY_FALLBACKS", min_bytes=32, lines=True, required=False),
    Key("DATABASE_USERNAME", min_bytes=1, public=True),
    Key("DATABASE_PASSWORD"),
    Key("GENERATION", min_bytes=1, required=False, public=True),
)

#: What belongs into files only, by name; GENERATION tells no more than a time.
SECRET_NAMES: Final = tuple(key.name for key in KEYS if key.name != "GENERATION")
