"""The screen of `status`: what it shows, what it calls broken, and what it does not."""

from __future__ import annotations

import copy
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from keeper.screen import duration, screen, table

NOW = datetime(2026, 11, 26, 5, 0, 0, tzinfo=UTC)

Facts = dict[str, Any]


def at(**distance: int) -> str:
    """Return a time at a distance from now, as the keeper writes it."""
    return (NOW + timedelta(**distance)).isoformat(timespec="seconds")


#: What the keeper says of a release in good order.
SOUND: Facts = {
    "source": "keeper",
    "generation": 1764000000,
    "rotation": "none",
    "session": {"made": at(days=-3, hours=-4), "due": at(days=26, hours=20)},
    "database": {"made": at(minutes=-12, seconds=-5), "due": at(days=30)},
    "session_keys": {"sign": 1, "verify": 2},
    "role": "flask_app_a",
    "certificates": {"flask-app-tls": {"due": at(days=243), "ends": at(days=364)}},
    "pods": [
        {"name": "pod-1", "generation": 1764000000, "role": "flask_app_a", "problem": ""},
        {"name": "pod-2", "generation": 1764000000, "role": "flask_app_a", "problem": ""},
    ],
}

#: What the cluster knows beside it.
DEPLOYED: Facts = {
    "release": {
        "name": "flask-app",
        "revision": 3,
        "status": "deployed",
        "chart": "flask-app-0.1.0",
        "app_version": "0.1.0",
        "deployed": at(hours=-2),
    },
    "runs": {
        "suspended": False,
        "last": {"what": "rotate", "outcome": "done", "when": at(minutes=-3), "job": "job/x"},
    },
}


def changed(change: Callable[[Facts], object], more: Facts | None = None) -> tuple[str, bool]:
    """Return the screen of what is in good order but for a change, and whether it is sound."""
    facts = copy.deepcopy({**SOUND, **(more or {})})
    change(facts)
    return screen(facts, NOW)


def line(text: str, beginning: str) -> list[str]:
    """Return the cells of the one line that begins so."""
    (found,) = [one for one in text.splitlines() if one.startswith(beginning)]
    return [cell.strip() for cell in found.split("  ") if cell]


def test_every_figure_is_on_the_screen() -> None:
    text, is_sound = screen({**SOUND, **DEPLOYED}, NOW)
    assert is_sound
    assert "Now       2026-11-26 05:00:00 UTC" in text
    assert (
        "flask-app, revision 3 (deployed), "
        "chart flask-app-0.1.0, app 0.1.0, "
        "deployed 2026-11-26 03:00:00 UTC (2 h ago)"
    ) in text
    assert "made by the keeper, generation 1764000000, role flask_app_a;" in text
    assert "session keys: 1 signs, 2 verify" in text
    assert line(text, "Rotation") == ["Rotation", "none under way"]
    assert "rotate, done 2026-11-26 04:57:00 UTC (3 min ago): job/x" in text
    made, due = "2026-11-23 01:00:00 UTC", "2026-12-23 01:00:00 UTC (in 26 d 20 h)"
    assert line(text, "session key") == ["session key", "3 d 4 h", made, due]
    assert line(text, "database password")[1] == "12 min 5 s"
    assert line(text, "flask-app-tls")[1:] == [
        "2027-07-27 05:00:00 UTC (in 243 d)",
        "2027-11-25 05:00:00 UTC (in 364 d)",
    ]
    assert line(text, "pod-1") == ["pod-1", "1764000000", "flask_app_a"]
    assert text.splitlines()[-1] == "Nothing is broken."


def test_what_the_cluster_knows_of_a_pod_stands_beside_it() -> None:
    def ready(facts: Facts) -> None:
        facts["pods"][0] |= {"ready": True, "restarts": 4}

    text, is_sound = changed(ready)
    assert is_sound
    assert line(text, "POD") == ["POD", "GENERATION", "ROLE", "READY", "RESTARTS"]
    assert line(text, "pod-1")[3:] == ["yes", "4"]
    assert line(text, "pod-2")[3:] == ["not told", "not told"]


def behind(facts: Facts) -> None:
    facts["pods"][1]["generation"] = 1763000000


def silent(facts: Facts) -> None:
    facts["pods"][1] |= {"generation": None, "role": "", "problem": "does not answer within 2 s"}


def not_ready(facts: Facts) -> None:
    facts["pods"][1] |= {"ready": False, "restarts": 7}


def gone(facts: Facts) -> None:
    facts["pods"] = []


def overdue(facts: Facts) -> None:
    facts["session"]["due"] = at(days=-3, hours=-4)


def never_made(facts: Facts) -> None:
    facts["generation"] = 0


def ahead(facts: Facts) -> None:
    facts["times_ahead"] = ["GENERATION", "session-made"]


def not_begun(facts: Facts) -> None:
    facts["certificates"]["flask-app-tls"]["begins"] = at(hours=1)


def ended(facts: Facts) -> None:
    facts["certificates"]["flask-app-tls"] = {"due": at(days=-100), "ends": at(hours=-1)}


def not_renewed(facts: Facts) -> None:
    facts["certificates"]["flask-app-tls"]["due"] = at(hours=-2)


def empty(facts: Facts) -> None:
    facts["certificates"]["flask-app-tls"] = {}


def no_certificate(facts: Facts) -> None:
    what = {"problem": "holds something else than a certificate"}
    facts["certificates"]["flask-app-tls"] = what


def failed(facts: Facts) -> None:
    facts["runs"]["last"]["outcome"] = "failed"


def half_deployed(facts: Facts) -> None:
    facts["release"]["status"] = "pending-upgrade"


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (behind, "the pod pod-2 is behind: it has generation 1763000000, not 1764000000"),
        (silent, "the pod pod-2 does not answer within 2 s"),
        (not_ready, "the pod pod-2 is not ready"),
        (gone, "no pod of the service is found"),
        (overdue, "the session key's rotation has been due for 3 d 4 h"),
        (
            ahead,
            "times in the future, from a clock that was wrong: GENERATION, session-made; "
            "the keeper's next run rotates what they date",
        ),
        (
            not_begun,
            "the certificate flask-app-tls is not valid before "
            "2026-11-26 06:00:00 UTC (in 1 h): a clock was wrong",
        ),
        (never_made, "the secrets are not made yet: the keeper fills them"),
        (ended, "the certificate flask-app-tls ended 2026-11-26 04:00:00 UTC (1 h ago)"),
        (not_renewed, "the renewal of flask-app-tls has been due for 2 h"),
        (empty, "the certificate flask-app-tls is empty"),
        (no_certificate, "the certificate flask-app-tls holds something else than a certificate"),
        (failed, "the keeper's last run failed; its log says why: job/x"),
        (half_deployed, "the release is pending-upgrade: `make deploy` deploys it again"),
    ],
)
def test_what_is_broken_is_a_sentence(change: Callable[[Facts], object], sentence: str) -> None:
    text, is_sound = changed(change, DEPLOYED)
    assert not is_sound
    told = text.split("\nBroken:\n")[1].splitlines()
    assert f"  - {sentence}" in told
    assert "Nothing is broken." not in told


def just_due(facts: Facts) -> None:
    facts["session"]["due"] = at(minutes=-59)


def suspended(facts: Facts) -> None:
    facts["runs"]["suspended"] = True


def announced(facts: Facts) -> None:
    facts["rotation"] = "announced"
    behind(facts)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (just_due, "the session key's rotation has been due for 59 min"),
        (suspended, "the keeper's CronJob is suspended: nothing is rotated on its own"),
        (
            announced,
            "a rotation is under way: it is announced, which 1 of 2 pods have; "
            "until its end old and new secrets are valid",
        ),
    ],
)
def test_what_gets_well_on_its_own_is_told_and_not_broken(
    change: Callable[[Facts], object], sentence: str
) -> None:
    text, is_sound = changed(change, DEPLOYED)
    assert is_sound
    assert text.split("\nTo know:\n")[1].splitlines() == [f"  - {sentence}", "Nothing is broken."]


def test_a_pod_that_is_behind_says_so_in_its_line() -> None:
    text, _ = changed(announced)
    assert line(text, "pod-2")[-1] == "behind"
    assert line(text, "pod-1")[-1] == "flask_app_a"


def of_somebody_else(facts: Facts) -> None:
    for name in ("generation", "rotation", "session", "database", "session_keys", "role"):
        del facts[name]
    facts["source"] = "vault-agent"
    facts["pods"][0]["generation"] = 0


def test_another_source_alone_knows_the_ages() -> None:
    text, is_sound = changed(of_somebody_else)
    assert is_sound
    assert "from elsewhere (vault-agent), where alone their ages and rotations are known" in text
    assert "SECRET  " not in text
    assert "Rotation" not in text
    assert line(text, "pod-1")[1] == "not told"
    assert line(text, "flask-app-tls")
    assert "  - the pods have different generations: a change is on its way" in text


def test_nobody_writes_to_the_terminal_but_the_screen() -> None:
    """A pod names itself, and may name itself a command to the terminal."""

    def hostile(facts: Facts) -> None:
        facts["pods"][0] |= {"name": "\x1b[2Jpod\nNothing", "problem": "\x07gone"}

    text, _ = changed(hostile)
    assert "?[2Jpod?Nothing" in text
    assert all(one.isprintable() for one in text.splitlines())


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (-5, "0 s"),
        (0.4, "0 s"),
        (59, "59 s"),
        (60, "1 min"),
        (3725, "1 h 2 min"),
        (86400 + 59, "1 d"),
        (86400 * 3 + 3600 * 4 + 60, "3 d 4 h"),
        (86400 * 400, "400 d"),
    ],
)
def test_a_duration_has_its_two_largest_units(seconds: float, words: str) -> None:
    assert duration(seconds) == words


def test_a_table_without_rows_is_nothing() -> None:
    assert table([("A", "B")]) == ""
    assert table([("A", "B"), ("long", "x")]) == "A     B\nlong  x"
