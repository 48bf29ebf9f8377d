"""The settings of app/gunicorn.conf.py, without limits for slow clients."""

from pathlib import Path

_settings = Path(__file__).parents[2] / "app" / "gunicorn.conf.py"
exec(compile(_settings.read_text(), _settings, "exec"))
wsgi_app = "tools.bench.unlimited:application"
worker_class = "gthread"
threads = 8
