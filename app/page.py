"""The page: the panel, the example, and a visit counter in the signed session cookie."""

from __future__ import annotations

from flask import Blueprint, render_template, session

from .core import panel

blueprint = Blueprint("page", __name__)


@blueprint.get("/")
def index() -> str:
    """Show what the secrets are at, and how often this browser was here."""
    session.permanent = True
    session["visits"] = session.get("visits", 0) + 1
    return render_template("index.html", visits=session["visits"], **panel.content())
