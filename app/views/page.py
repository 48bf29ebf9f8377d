"""The page: notes, the panel, and a visit counter that lives in the signed session cookie."""

from __future__ import annotations

from flask import Blueprint, render_template, session

from . import panel
from .notes import DEFAULT_LIMIT, newest

blueprint = Blueprint("page", __name__)


@blueprint.get("/")
def index() -> str:
    """Show the newest notes and how often this browser was here."""
    notes, more = newest(DEFAULT_LIMIT)
    session.permanent = True
    session["visits"] = session.get("visits", 0) + 1
    return render_template(
        "index.html",
        notes=notes,
        more=more,
        visits=session["visits"],
        **panel.content(),
    )
