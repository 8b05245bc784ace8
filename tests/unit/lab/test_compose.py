"""The container files say what the code can do, and open nothing to the network."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from rescorer_lab.engines import releases
from rescorer_sidecar import config, security
from rescorer_sidecar.errors import ConfigError

ROOT = Path(__file__).resolve().parents[3]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES: dict[str, Any] = COMPOSE["services"]
SIDECARS = [name for name in SERVICES if name.startswith("sidecar")]
DOCKERFILE = (ROOT / "deploy" / "sidecar.Dockerfile").read_text().replace("\\\n", " ")
STEPS = [line.strip() for line in DOCKERFILE.splitlines() if line.strip() and not line.strip().startswith("#")]


def _step(word: str) -> list[str]:
    return [step.removeprefix(f"{word} ") for step in STEPS if step.startswith(f"{word} ")]


def test_every_published_port_is_bound_to_loopback_and_to_one_service() -> None:
    """No service is reachable from another machine, and all of them can run at once."""
    ports = [port for service in SERVICES.values() for port in service["ports"]]
    assert [port for port in ports if not re.fullmatch(r"127\.0\.0\.1:\d+:\d+", port)] == []
    assert len({port.split(":")[1] for port in ports}) == len(ports) == 3


def test_the_image_alone_lets_nobody_in_unasked() -> None:
    """Whoever runs it without tokens and without the word is told so: in a container everybody's packets arrive."""
    (entry,) = _step("ENTRYPOINT")
    settings = config.from_command_line([*yaml.safe_load(entry)[1:], "--model=m"], {})
    with pytest.raises(ConfigError, match="everybody there could ask this sidecar"):
        security.opened(settings, lambda _: None)


@pytest.mark.parametrize("name", SIDECARS)
def test_the_flags_of_a_sidecar_are_settings_with_values_that_it_takes(name: str) -> None:
    """The sidecar's own parser accepts the image's entry point followed by the service's command."""
    (entry,) = _step("ENTRYPOINT")
    arguments = [*yaml.safe_load(entry)[1:], *SERVICES[name]["command"]]
    settings = config.from_command_line(arguments, {})
    assert (settings.host, settings.port) == ("0.0.0.0", 50051)  # noqa: S104  # inside the container
    security.opened(settings, lambda _: None)  # raises where the sidecar would refuse to start
    assert {flag.split("=")[0].removeprefix("--").replace("-", "_") for flag in SERVICES[name]["command"]} <= set(
        config.KNOWN
    )


def test_the_default_sidecar_needs_no_gpu() -> None:
    """Without a profile the CPU image runs ONNX Runtime and reserves nothing."""
    service = SERVICES["sidecar"]
    assert "--backend=onnx" in service["command"]
    assert service["build"]["args"] == {"EXTRA": "onnx"}
    assert "profiles" not in service
    assert "deploy" not in service


def test_the_gpu_profile_reserves_a_device_and_runs_torch_on_it() -> None:
    """The GPU sidecar starts only when asked for, gets an NVIDIA device and uses it."""
    service = SERVICES["sidecar-gpu"]
    (device,) = service["deploy"]["resources"]["reservations"]["devices"]
    assert (device["driver"], device["capabilities"], service["profiles"]) == ("nvidia", ["gpu"], ["gpu"])
    assert {"--backend=torch", "--device=cuda:0"} <= set(service["command"])
    assert service["build"]["args"] == {"EXTRA": "sidecar"}


@pytest.mark.parametrize("name", SIDECARS)
def test_a_sidecar_brings_up_the_engine_and_keeps_its_models(name: str) -> None:
    """Each depends on the engine's health, is built from the same file, and stores models in a declared volume."""
    service = SERVICES[name]
    assert service["depends_on"] == {"opensearch": {"condition": "service_healthy"}}
    assert (ROOT / service["build"]["dockerfile"]).is_file()
    (volume,) = service["volumes"]
    assert volume.split(":")[0] in COMPOSE["volumes"]
    assert "HF_HOME=/models" in DOCKERFILE
    assert volume.split(":")[1] == "/models"


def test_a_sidecar_gets_the_time_to_drain() -> None:
    """Docker waits longer than the sidecar's own drain takes."""
    for name in SIDECARS:
        assert int(SERVICES[name]["stop_grace_period"].removesuffix("s")) > config.Settings().drain_s


def test_the_engine_is_the_release_that_is_tested_without_docker() -> None:
    """The image's version is that of ``rescorer engine up``, with a health check and data that outlive it."""
    service = SERVICES["opensearch"]
    assert service["image"] == f"opensearchproject/opensearch:{releases.find('opensearch').version}"
    assert "_cluster/health" in service["healthcheck"]["test"]
    assert service["volumes"][0].split(":")[0] in COMPOSE["volumes"]


def test_the_image_installs_exact_versions_of_an_extra_that_exists() -> None:
    """The lock constrains the packages and those that build them; uv's version is the Makefile's."""
    (install,) = [step for step in _step("RUN") if ".[${EXTRA},redis]" in step]
    assert "--constraint requirements.lock" in install
    assert "--build-constraint requirements.lock" in install
    makefile = re.search(r"UV_VERSION := (\S+)", (ROOT / "Makefile").read_text())
    assert makefile is not None
    assert f"uv=={makefile[1]}" in DOCKERFILE
    extras = re.findall(r"^(\w+) = \[", (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert {SERVICES[name]["build"]["args"]["EXTRA"] for name in SIDECARS} <= set(extras)


def test_the_image_runs_as_a_user_without_rights() -> None:
    """The last user of the final stage is a number that is not root's, and owns the folder of the models."""
    assert _step("USER") == ["10001"]
    assert "useradd --system --uid 10001" in DOCKERFILE
    assert STEPS.index("USER 10001") > max(index for index, step in enumerate(STEPS) if step.startswith("FROM "))
    assert "--owner rescorer" in DOCKERFILE


def test_the_image_is_healthy_only_when_the_sidecar_says_so() -> None:
    """The health check is a module that is there, and asks at the port of the entry point, which is exposed."""
    check = next(step for step in STEPS if step.startswith("HEALTHCHECK "))
    command = yaml.safe_load(check[check.index("[") :])
    assert command[:2] == ["python", "-m"]
    assert importlib.util.find_spec(command[2]) is not None
    (entry,) = _step("ENTRYPOINT")
    settings = config.from_command_line([*yaml.safe_load(entry)[1:], "--model=m"], {})
    assert command[3:] == [str(settings.http_port)]
    assert _step("EXPOSE") == [f"{settings.port} {settings.http_port}"]


def test_what_the_image_copies_is_there_and_not_ignored() -> None:
    """Each copied file or folder stands in the tree, and the ignore file lets it through."""
    allowed = (ROOT / "deploy" / "sidecar.Dockerfile.dockerignore").read_text().split()
    copied = {path for step in _step("COPY") if not step.startswith("--from") for path in step.split()[:-1]}
    assert {path for path in copied if not (ROOT / path).exists()} == set()
    assert {f"!{path}" for path in copied} <= set(allowed)
