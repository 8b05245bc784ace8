"""A release as small as one can be: a zip with a script for a node, and stand-ins for the tools that fetch it."""

from __future__ import annotations

import hashlib
import io
import os
import sys
import zipfile
from dataclasses import dataclass, field
from pathlib import Path

from rescorer_lab.engines.release import Artifact, Release

SERVER = """
import http.server, json, os, re
from pathlib import Path

config = dict(re.findall(r"^(\\S+): (.*)$", Path(os.environ["TOY_PATH_CONF"], "toy.yml").read_text(), re.MULTILINE))
Path(config["path.data"], f"written-by-{os.geteuid()}").touch()
print("options", os.environ["TOY_JAVA_OPTS"], flush=True)
refusals = [503] * int(os.environ["TOY_JAVA_HOME"][-1])


class Node(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        status = refusals.pop() if refusals else 200
        body = json.dumps({"status": "green", "timed_out": False}).encode()
        self.send_response(status)
        self.send_header("X-toy", "Toy")
        self.end_headers()
        self.wfile.write(body)


http.server.HTTPServer((config["network.host"], int(config["http.port"])), Node).serve_forever()
"""
COMMANDS = {
    "answers": 'exec "{python}" "$(dirname "$0")/server.py"',
    "ends": 'echo "java.lang.IllegalStateException: no luck today"; echo "later words"; exit 1',
    "ends in silence": "exit 1",
    "speaks before it ends": 'echo "one"; echo "the last words"; exit 1',
    "starves": 'echo "Error: A JNI error"; echo "x java.lang.OutOfMemoryError: Java heap space"; exit 1',
    "never answers": 'exec "{python}" -c "import signal; signal.pause()"',
}
MAVEN = """#!{python}
import json, os, re, shutil, sys
from pathlib import Path

home = Path({home!r})
with (home / "calls").open("a") as calls:
    calls.write(json.dumps({{"arguments": sys.argv[1:], "java": os.environ.get("JAVA_HOME")}}) + "\\n")
if (home / "says").exists():
    print((home / "says").read_text())
    sys.exit(1)
pom = Path(sys.argv[sys.argv.index("-f") + 1]).read_text()
local = Path(next(word for word in sys.argv if word.startswith("-Dmaven.repo.local=")).split("=")[1])
for item in re.findall("<artifactItem>(.*?)</artifactItem>", pom):
    group, name, version, packaging = re.findall(r">([^<>]+)<", item)
    kept = local.joinpath(*group.split("."), name, version, f"{{name}}-{{version}}.{{packaging}}")
    kept.parent.mkdir(parents=True, exist_ok=True)
    for place in (kept, Path(re.search("<outputDirectory>(.*)</outputDirectory>", pom)[1])):
        shutil.copy(home / "central" / kept.name, place)
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Toy:
    """A folder with a Maven whose central repository holds one toy release, and a Java that the toy accepts.

    said: what the code under test told its user.
    """

    folder: Path
    said: list[str] = field(default_factory=list)

    @property
    def tools(self) -> Path:
        """The folder that ``mvn`` stands in."""
        return self.folder / "tools"

    @property
    def java(self) -> Path:
        """A Java home whose last digit is the number of times that the node refuses before it answers."""
        return self.folder / "java-0"

    def make_tools(self) -> None:
        """Write ``mvn`` and the Java homes."""
        self.make_script("mvn", MAVEN.format(python=sys.executable, home=str(self.folder)))
        for refusals in (0, 2):
            self.make_java(f"java-{refusals}", "21.0.4")

    def make_java(self, name: str, version: str, *, jdk: bool = False) -> Path:
        """A Java home of this version, with a compiler if it is a JDK."""
        home = self.folder / name
        (home / "bin").mkdir(parents=True)
        (home / "release").write_text(f'IMPLEMENTOR="toy"\nJAVA_VERSION="{version}"\n')
        for program in ("java", "javac")[: 1 + jdk]:
            (home / "bin" / program).touch(0o755)
        return home

    def make_script(self, name: str, text: str) -> Path:
        """An executable beside ``mvn``."""
        path = self.tools / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        path.chmod(0o755)
        return path

    def maven_says(self, text: str) -> None:
        """From now on Maven fails with this text."""
        (self.folder / "says").write_text(text)

    def maven_calls(self) -> list[str]:
        """Each call of Maven: its arguments and its JAVA_HOME, as JSON."""
        calls = self.folder / "calls"
        return calls.read_text().splitlines() if calls.exists() else []

    def release(self, does: str = "answers", version: str = "1.0") -> Release:
        """A release whose node does one of COMMANDS, ready to be fetched."""
        python = "/usr/bin/python3" if os.geteuid() == 0 else sys.executable  # one that nobody may run
        content = io.BytesIO()
        with zipfile.ZipFile(
            content, "w"
        ) as whole:  # ZipInfo has a fixed date, so that the same files make the same zip
            whole.writestr(zipfile.ZipInfo(f"toy-{version}/bin/toy"), COMMANDS[does].format(python=python))
            whole.writestr(zipfile.ZipInfo(f"toy-{version}/bin/server.py"), SERVER)
            whole.writestr(zipfile.ZipInfo(f"toy-{version}/config/jvm.options"), "-Xkept\n-Xdropped:file\n")
            whole.writestr(zipfile.ZipInfo(f"toy-{version}/modules/unwanted/large"), "x")
        central = self.folder / "central"
        central.mkdir(exist_ok=True)
        (central / f"toy-{version}.zip").write_bytes(content.getvalue())
        return Release(
            engine="toy",
            version=version,
            artifacts=(
                Artifact(
                    coordinate=f"a.group:toy:{version}",
                    sha256=hashlib.sha256(content.getvalue()).hexdigest(),
                    members={f"toy-{version}/": ""},
                ),
            ),
            megabytes=1,
            licence="MIT",
            java_least=21,
            variable_prefix="TOY",
            command="bin/toy",
            removed=("modules/unwanted",),
            dropped_jvm_options=("-Xdropped",),
        )
