"""The templates and pipelines on the engine, beside the files that they come from."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from rescorer import templates
from rescorer.errors import RescorerError
from rescorer_lab.connect import Address
from rescorer_lab.doctor.engine import There
from rescorer_lab.doctor.findings import Finding, ok, unknown, wrong


@dataclass(frozen=True, slots=True)
class Meant:
    """Whose files, for which index. folder None: those that come along."""

    folder: Path | None
    index: str | None
    address: Address

    def command(self, verb: str) -> str:
        """The command that compares or applies them."""
        folder = "" if self.folder is None else f" --folder {self.folder}"
        return f"rescorer templates {verb}{folder} --url {self.address.shown}"


def examined(client: Any, there: There, meant: Meant) -> Generator[Finding, None, None]:
    """One finding: they are as in the files, or missing, or changed, or another template does their work."""
    try:
        files = templates.shipped(there.engine) if meant.folder is None else templates.read(meant.folder)
        broken = templates.check(files, there.engine)
    except RescorerError as error:
        yield wrong("templates", str(error), f"mend the file, then: {meant.command('apply')}")
        return
    if broken:
        yield wrong("templates", str(broken[0]), f"mend the file, then: {meant.command('apply')}")
        return
    differences = templates.diff(client, files)
    whose = "the files that come along" if meant.folder is None else f"the files in {meant.folder}"
    if not differences:
        yield ok("templates", f"all {len(files)} are as in {whose}")
    else:
        yield _different(client, differences, meant)


def _different(client: Any, differences: list[templates.Difference], meant: Meant) -> Finding:
    missing = [entry.template for entry in differences if entry.is_new]
    changed = [entry.template for entry in differences if not entry.is_new]
    if meant.folder is None and meant.index and _gives_profile(client, meant.index):
        return ok("templates", f"a new index named {meant.index} gets its profile from this engine's templates")
    if missing:
        more = "" if len(missing) == 1 else f" and {len(missing) - 1} more"
        return wrong("templates", f"missing: {_named(missing[0])}{more}", meant.command("apply"))
    says = f"not as in the file: {', '.join(map(_named, changed))}"
    if meant.folder is None:
        return unknown("templates", says, "compare with your own files: --folder; or look: " + meant.command("diff"))
    return wrong("templates", says, meant.command("apply"))


def _named(template: templates.Template) -> str:
    return f"{template.kind.replace('_', ' ')} {template.name}"


def _gives_profile(client: Any, index: str) -> bool:
    """Whether a new index of this name would have a profile, as the engine composes its templates."""
    path = f"/_index_template/_simulate_index/{quote(index, safe='')}"
    node = client.transport.perform_request("POST", path, params={"ignore": [400, 404]})
    for key in ("template", "mappings", "_meta", "rescorer"):
        node = node.get(key) if isinstance(node, Mapping) else None
    return node is not None
