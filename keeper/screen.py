"""What `status` tells, as one screen for a person: plain text, ages in words, times in UTC.

Whoever asks may know more than the keeper does, of the release and of its pods: what stands in
the same mapping, under `release`, `runs` and in each pod, is shown with the rest.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final, NamedTuple

Facts = Mapping[str, Any]

#: How long something may be due: by default the CronJob looks every hour.
GRACE: Final = timedelta(hours=2)

#: What is rotated by its age, and what people call it.
AGEING: Final = {"session": "session key", "database": "database password"}

UNITS: Final = (("d", 86400), ("h", 3600), ("min", 60), ("s", 1))


class Finding(NamedTuple):
    """Something that a person should know; what is broken does not get well on its own."""

    text: str
    is_broken: bool = True


def screen(facts: Facts, now: datetime) -> tuple[str, bool]:
    """Return the screen, and whether nothing on it is broken."""
    facts = _printable(facts)
    found = [*_findings(facts, now)]
    blocks = [_head(facts, now), _ages(facts, now), _certificates(facts, now), _pods(facts)]
    blocks.append("\n".join(_verdict(found)))
    return "\n\n".join(filter(None, blocks)), not any(one.is_broken for one in found)


def duration(seconds: float) -> str:
    """Return a time in its two largest units, as `3 d 4 h`."""
    rest = max(0, int(seconds))
    parts: list[str] = []
    for unit, size in UNITS:
        number, rest = divmod(rest, size)
        if number or parts:
            parts.append(f"{number} {unit}")
        if len(parts) == 2:
            break
    return " ".join(part for part in parts if not part.startswith("0 ")) or "0 s"


def table(rows: Iterable[Sequence[str]]) -> str:
    """Return rows of cells in columns, the first row being their names; empty without another."""
    rows = [*rows]
    if len(rows) < 2:
        return ""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    )


def _head(facts: Facts, now: datetime) -> str:
    lines = [("Now", _when(now))]
    if release := facts.get("release"):
        lines.append(("Release", _release(release, now)))
    lines.append(("Secrets", _secrets(facts)))
    if "rotation" in facts:
        lines.append(("Rotation", _rotation(facts)))
    if "runs" in facts:
        lines.append(("Keeper", _last_run(facts["runs"], now)))
    return "\n".join(f"{name:<10}{text}" for name, text in lines)


def _release(release: Facts, now: datetime) -> str:
    what = "{name}, revision {revision} ({status}), chart {chart}, app {app_version}"
    return f"{what.format(**release)}, deployed {_ago(release['deployed'], now)}"


def _secrets(facts: Facts) -> str:
    if not _is_own(facts):
        return f"from elsewhere ({facts['source']}), where alone their ages and rotations are known"
    keys = facts["session_keys"]
    return (
        f"made by the keeper, generation {facts['generation']}, role {facts['role'] or 'none'}; "
        f"session keys: {keys['sign']} signs, {keys['verify']} verify"
    )


def _rotation(facts: Facts) -> str:
    return "none under way" if facts["rotation"] == "none" else f"under way: {facts['rotation']}"


def _last_run(runs: Facts | None, now: datetime) -> str:
    if not runs:
        return "has nothing to do here, and nobody asks the pods for their generations"
    suspended = "; its CronJob is suspended" if runs["suspended"] else ""
    if not (last := runs["last"]):
        return f"no run is known{suspended}"
    return f"{last['what']}, {last['outcome']} {_ago(last['when'], now)}: {last['job']}{suspended}"


def _ages(facts: Facts, now: datetime) -> str:
    rows = [
        (
            name,
            duration((now - _time(facts[part]["made"])).total_seconds()),
            _when(_time(facts[part]["made"])),
            _coming(facts[part]["due"], now),
        )
        for part, name in AGEING.items()
        if part in facts
    ]
    return table([("SECRET", "AGE", "MADE", "NEXT ROTATION"), *rows])


def _certificates(facts: Facts, now: datetime) -> str:
    rows = [
        (
            name,
            _coming(one["due"], now) if one.get("due") else one.get("problem", "is empty"),
            _coming(one["ends"], now) if one.get("ends") else "",
        )
        for name, one in facts.get("certificates", {}).items()
    ]
    return table([("CERTIFICATE", "RENEWAL", "END"), *rows])


def _pods(facts: Facts) -> str:
    pods = facts["pods"]
    knows_more = any("ready" in pod for pod in pods)
    rows = [
        (
            pod["name"],
            _generation(pod),
            pod["role"] or "not told",
            *((_yes(pod.get("ready")), str(pod.get("restarts", "not told"))) if knows_more else ()),
            pod["problem"] or ("behind" if _is_behind(pod, facts) else ""),
        )
        for pod in pods
    ]
    more = ("READY", "RESTARTS") if knows_more else ()
    return table([("POD", "GENERATION", "ROLE", *more, ""), *rows])


def _generation(pod: Facts) -> str:
    return str(pod["generation"]) if pod["generation"] else "not told"


def _yes(value: bool | None) -> str:
    return {True: "yes", False: "no", None: "not told"}[value]


def _verdict(found: Sequence[Finding]) -> Iterator[str]:
    """Iterate over the lines that say what is wrong, what is broken first."""
    for title, is_broken in (("Broken:", True), ("To know:", False)):
        if texts := [one.text for one in found if one.is_broken is is_broken]:
            yield title
            yield from (f"  - {text}" for text in texts)
    if not any(one.is_broken for one in found):
        yield "Nothing is broken."


def _findings(facts: Facts, now: datetime) -> Iterator[Finding]:
    yield from _about_release(facts)
    yield from _about_ages(facts, now)
    yield from _about_certificates(facts, now)
    yield from _about_pods(facts)


def _about_release(facts: Facts) -> Iterator[Finding]:
    status = facts.get("release", {}).get("status", "deployed")
    if status != "deployed":
        yield Finding(f"the release is {status}: `make deploy` deploys it again")
    runs = facts.get("runs") or {"last": None, "suspended": False}
    if runs["last"] and runs["last"]["outcome"] == "failed":
        yield Finding(f"the keeper's last run failed; its log says why: {runs['last']['job']}")
    if runs["suspended"]:
        yield Finding("the keeper's CronJob is suspended: nothing is rotated on its own", False)
    if facts.get("rotation", "none") != "none":
        has_it = sum(not _is_behind(pod, facts) for pod in facts["pods"])
        yield Finding(
            f"a rotation is under way: it is {facts['rotation']}, which {has_it} of "
            f"{len(facts['pods'])} pods have; until its end old and new secrets are valid",
            False,
        )


def _about_ages(facts: Facts, now: datetime) -> Iterator[Finding]:
    if not _is_own(facts):
        return
    if not facts["generation"]:
        yield Finding("the secrets are not made yet: the keeper fills them")
        return
    if ahead := facts.get("times_ahead"):
        yield Finding(
            f"times in the future, from a clock that was wrong: {', '.join(ahead)}; the keeper's "
            "next run rotates what they date"
        )
    for part, name in AGEING.items():
        if part in facts:
            yield from _overdue(f"the {name}'s rotation", _time(facts[part]["due"]), now)


def _about_certificates(facts: Facts, now: datetime) -> Iterator[Finding]:
    for name, one in facts.get("certificates", {}).items():
        if not one.get("ends"):
            yield Finding(f"the certificate {name} {one.get('problem', 'is empty')}")
        elif now >= _time(one["ends"]):
            yield Finding(f"the certificate {name} ended {_ago(one['ends'], now)}")
        elif "begins" in one and now < _time(one["begins"]):
            begins = _coming(one["begins"], now)
            yield Finding(f"the certificate {name} is not valid before {begins}: a clock was wrong")
        else:
            yield from _overdue(f"the renewal of {name}", _time(one["due"]), now)


def _overdue(what: str, due: datetime, now: datetime) -> Iterator[Finding]:
    if now >= due:
        overdue = duration((now - due).total_seconds())
        yield Finding(f"{what} has been due for {overdue}", now >= due + GRACE)


def _about_pods(facts: Facts) -> Iterator[Finding]:
    if not facts["pods"]:
        yield Finding("no pod of the service is found")
    for pod in facts["pods"]:
        if pod["problem"]:
            yield Finding(f"the pod {pod['name']} {pod['problem']}")
        elif pod.get("ready") is False:
            yield Finding(f"the pod {pod['name']} is not ready")
        elif _is_behind(pod, facts) and facts["rotation"] == "none":
            what = f"it has generation {pod['generation']}, not {facts['generation']}"
            yield Finding(f"the pod {pod['name']} is behind: {what}")
    generations = {pod["generation"] for pod in facts["pods"] if not pod["problem"]}
    if not _is_own(facts) and len(generations) > 1:
        yield Finding("the pods have different generations: a change is on its way", False)


def _is_own(facts: Facts) -> bool:
    return bool(facts["source"] == "keeper")


def _is_behind(pod: Facts, facts: Facts) -> bool:
    """Tell whether a pod has another generation than the one that is published."""
    return _is_own(facts) and pod["generation"] != facts["generation"]


def _printable(value: Any) -> Any:
    """Return the same without what would move a terminal's cursor; a pod names itself."""
    if isinstance(value, str):
        return "".join(one if one.isprintable() else "?" for one in value)
    if isinstance(value, Mapping):
        return {_printable(key): _printable(one) for key, one in value.items()}
    return [_printable(one) for one in value] if isinstance(value, list) else value


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)


def _when(time: datetime) -> str:
    return f"{time:%Y-%m-%d %H:%M:%S} UTC"


def _ago(text: str, now: datetime) -> str:
    return f"{_when(_time(text))} ({duration((now - _time(text)).total_seconds())} ago)"


def _coming(text: str, now: datetime) -> str:
    seconds = (_time(text) - now).total_seconds()
    return f"{_when(_time(text))} ({f'in {duration(seconds)}' if seconds > 0 else 'past'})"
