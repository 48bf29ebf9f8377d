"""gunicorn's settings for the service with the tests' own resource."""

from pathlib import Path

_settings = Path(__file__).parents[1] / "app" / "gunicorn.conf.py"
exec(compile(_settings.read_text(), _settings, "exec"))
wsgi_app = "tests.items:create_app()"
