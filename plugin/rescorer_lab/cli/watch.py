"""``rescorer watch``: whether live searches are still what they were."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated

import typer
import urllib3
from rich.console import Console
from rich.table import Table
from rich.text import Text

from rescorer_lab.cli.doctor import AsJson
from rescorer_lab.errors import LabError
from rescorer_lab.watching import findings as rooms
from rescorer_lab.watching import seen
from rescorer_lab.watching.findings import Finding, Limits
from rescorer_lab.watching.seen import Seen

PATIENCE_S = 10.0
OK = 200
LIMITS = Limits()

Logs = Annotated[list[Path] | None, typer.Argument(help="Files that rescorer.outcome_log.OutcomeLog writes.")]
Baseline = Annotated[list[Path] | None, typer.Option(help="A log to compare with; default: all before --hours.")]
Hours = Annotated[float, typer.Option(min=0.01, help="How far back what is watched reaches.")]
Metrics = Annotated[str, typer.Option(help="Instead of logs: an application's metrics, an address or a saved scrape.")]
Since = Annotated[Path | None, typer.Option(help="An earlier scrape of the same metrics, which is taken off.")]
Fallback = Annotated[float, typer.Option(min=0, max=1, help="Share of fallbacks above which it alarms.")]
Partial = Annotated[float, typer.Option(min=0, max=1, help="Share of partial answers above which it alarms.")]
Skipped = Annotated[float, typer.Option(min=0, max=1, help="Share of skipped searches above which it alarms.")]
Drift = Annotated[float, typer.Option(min=0, help="Population stability index of scores above which it alarms.")]
Loss = Annotated[
    float, typer.Option(min=0, max=1, help="nDCG that a gate costs, by its audits, above which it alarms.")
]


def watch(  # the limits of the command line
    logs: Logs = None,
    baseline: Baseline = None,
    hours: Hours = 24.0,
    metrics: Metrics = "",
    since: Since = None,
    most_fallback: Fallback = LIMITS.fallback,
    most_partial: Partial = LIMITS.partial,
    most_skipped: Skipped = LIMITS.skipped,
    most_drift: Drift = LIMITS.drift,
    most_loss: Loss = LIMITS.loss,
    as_json: AsJson = False,
) -> None:
    """Look at a sample of live searches: fallbacks, partial answers, drift of scores, what gates cost.

    The exit code is 1 where something alarms, so that a timer can call it. Nothing alarms below 100 observations.
    """
    limits = Limits(
        fallback=most_fallback, partial=most_partial, skipped=most_skipped, drift=most_drift, loss=most_loss
    )
    if (metrics and (logs or baseline)) or (since and not metrics):
        raise LabError("metrics and logs are two sources", "name --metrics, with --since or without, or logs")
    now, before = _scraped(metrics, since) if metrics else _logged(logs or [], baseline or [], hours)
    found = rooms.findings(now, before, limits)
    alarms = [finding.name for finding in found if finding.is_alarm]
    if as_json:
        told = {"alarms": alarms, "findings": [finding.as_dict() for finding in found]}
        typer.echo(json.dumps(told, ensure_ascii=False, indent=2))
    else:
        Console(soft_wrap=True).print(_table(found))
        typer.secho(f"alarm: {', '.join(alarms)}" if alarms else "no alarm", fg="red" if alarms else "green", bold=True)
    if alarms:
        raise typer.Exit(1)


def _logged(logs: list[Path], baseline: list[Path], hours: float) -> tuple[Seen, Seen]:
    if not logs:
        raise LabError("there is nothing to watch", "name a log, or --metrics")
    until = datetime.now(UTC)
    now, before = seen.read(logs, until - timedelta(hours=hours), until)
    if baseline:
        before, _ = seen.read(baseline, datetime.min.replace(tzinfo=UTC), until)
    if not now.searches:
        raise LabError(f"no search was logged in the last {hours:g} h", "look whether the application still writes it")
    return now, before


def _scraped(metrics: str, since: Path | None) -> tuple[Seen, Seen]:
    text = _fetched(metrics) if metrics.startswith(("http://", "https://")) else _file(Path(metrics))
    return seen.of_metrics(text, _file(since) if since else ""), Seen()


def _fetched(url: str) -> str:
    try:
        answer = urllib3.request("GET", url, timeout=PATIENCE_S, retries=False)
    except urllib3.exceptions.HTTPError as error:
        raise LabError(f"{url} does not answer: {error}", "name the address of an application's metrics") from error
    if answer.status != OK:
        raise LabError(f"{url} answers {answer.status}", "name the address of an application's metrics")
    return answer.data.decode(errors="replace")


def _file(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise LabError(f"{path} can't be read: {error}", "name a saved scrape") from error


def _table(found: list[Finding]) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False)
    for title in ("", "", "now", "before"):
        table.add_column(title, overflow="fold")
    for finding in found:
        mark = Text("✗", style="bold red") if finding.is_alarm else Text("·", style="dim")
        table.add_row(mark, Text(finding.name), Text(finding.now), Text(finding.before))
    return table
