"""The service: `create_app` puts the template's part (app/core) and yours together."""

from __future__ import annotations

from flask import Flask

from . import core
from .secret_keys import KEYS
from .settings import Settings


def create_app(settings: Settings | None = None) -> Flask:
    """Build the service.

    Every module of this package that has a `blueprint` is part of it: to add a route, add a file.

    :param settings: those of the environment, if there are none.
    :raises SettingsError: a setting is malformed.
    :raises SecretError: a secret is missing or unfit.
    """
    settings = settings or Settings.load()
    app = Flask(__name__)
    core.init_app(app, settings, KEYS)
    for blueprint in core.blueprints(__name__, without="wsgi"):
        app.register_blueprint(blueprint)
    return app
