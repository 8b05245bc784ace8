"""Containers have no rights that they do not need: run by nobody, files that can't be changed, no door left open."""

from __future__ import annotations

import re
from typing import Any

import pytest
import yaml

from rescorer_sidecar import config, security
from rescorer_sidecar.config import Settings
from shape.source import ROOT

DOCKERFILE = (ROOT / "deploy" / "sidecar.Dockerfile").read_text()
SERVICES: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
SIDECARS = [name for name in SERVICES if name.startswith("sidecar")]
MANIFESTS = {
    found["kind"]: found for found in yaml.safe_load_all((ROOT / "deploy/kubernetes/sidecar.yaml").read_text())
}
POD: dict[str, Any] = MANIFESTS["Deployment"]["spec"]["template"]["spec"]
(CONTAINER,) = POD["containers"]
WRITTEN = {"/models", "/tmp"}


def _settings(*arguments: str) -> Settings:
    (entry,) = re.findall(r"^ENTRYPOINT (.*)$", DOCKERFILE, re.MULTILINE)
    return config.from_command_line([*yaml.safe_load(entry)[1:], *arguments], {})


def test_the_image_is_run_by_a_number_that_is_not_root() -> None:
    """Kubernetes can check a number alone, and the last USER counts."""
    users = re.findall(r"^USER (.*)$", DOCKERFILE, re.MULTILINE)
    assert users[-1].isdecimal()
    assert int(users[-1]) > 0
    assert POD["securityContext"]["runAsUser"] == int(users[-1])


def test_caches_lie_where_may_be_written() -> None:
    """Every folder that the image names for writing is below /models."""
    named = re.findall(r"\b(HF_HOME|RESCORER_CACHE|TRITON_CACHE_DIR)=(\S+)", DOCKERFILE)
    assert len(named) == 3
    assert [path for _, path in named if not path.startswith("/models")] == []


@pytest.mark.parametrize("name", SIDECARS)
def test_compose_gives_a_sidecar_nothing_that_it_does_not_need(name: str) -> None:
    """Read-only but for models and /tmp, no capability, no way to get any."""
    service = SERVICES[name]
    assert service["read_only"] is True
    assert {*service["tmpfs"], *(volume.split(":")[1] for volume in service["volumes"])} == WRITTEN
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert not {"privileged", "cap_add", "network_mode", "pid", "user"} & service.keys()


def test_kubernetes_gives_a_sidecar_nothing_that_it_does_not_need() -> None:
    """What the profile *restricted* asks for, a read-only file system, and no token for the cluster."""
    assert POD["automountServiceAccountToken"] is False
    assert POD["securityContext"]["runAsNonRoot"] is True
    assert POD["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert CONTAINER["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert not {"hostNetwork", "hostPID", "hostIPC"} & POD.keys()
    assert {mount["mountPath"] for mount in CONTAINER["volumeMounts"] if not mount.get("readOnly")} == WRITTEN
    volumes = {volume["name"]: volume for volume in POD["volumes"]}
    assert {mount["name"] for mount in CONTAINER["volumeMounts"]} == volumes.keys()


def test_kubernetes_lets_in_who_shows_a_token_over_tls() -> None:
    """The flags are settings, of files that are mounted; insecure is not among them, and the admin door stays shut."""
    settings = _settings(*CONTAINER["args"])
    mounted = [mount["mountPath"] for mount in CONTAINER["volumeMounts"]]
    for path in (settings.tls_cert, settings.tls_key, settings.tokens_file):
        assert any(path.startswith(f"{folder}/") for folder in mounted), path
    assert (settings.insecure, settings.admin_port, settings.reflection) == (False, 0, False)
    ports = {port["name"]: port["containerPort"] for port in CONTAINER["ports"]}
    assert ports == {"grpc": settings.port, "http": settings.http_port}
    assert POD["terminationGracePeriodSeconds"] > settings.drain_s


def test_kubernetes_probes_speak_tls_to_paths_that_ask_for_nothing() -> None:
    """Whether it lives and whether it is ready, over HTTPS."""
    probes = {name: CONTAINER[name]["httpGet"] for name in ("startupProbe", "readinessProbe", "livenessProbe")}
    assert {name: probe["path"] for name, probe in probes.items()} == {
        "startupProbe": "/readyz",
        "readinessProbe": "/readyz",
        "livenessProbe": "/healthz",
    }
    assert {(probe["port"], probe["scheme"]) for probe in probes.values()} == {("http", "HTTPS")}


def test_kubernetes_policy_and_service_mean_these_pods() -> None:
    """Both select the deployment's labels, and only named ports are let in."""
    labels = MANIFESTS["Deployment"]["spec"]["template"]["metadata"]["labels"]
    assert MANIFESTS["Service"]["spec"]["selector"] == labels
    policy = MANIFESTS["NetworkPolicy"]["spec"]
    assert policy["podSelector"]["matchLabels"] == labels
    assert all(rule["from"] and rule["ports"] for rule in policy["ingress"])


def test_what_compose_calls_insecure_is_published_on_loopback_alone() -> None:
    """The word stands only where no other machine reaches the port."""
    for name in SIDECARS:
        settings = _settings(*SERVICES[name]["command"])
        assert settings.insecure
        assert all(port.startswith("127.0.0.1:") for port in SERVICES[name]["ports"])
        assert security.opened(settings, lambda _: None).tokens is None
