"""docker-compose.yml, the Dockerfile and what they mount: all that can be held true without a docker daemon."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from dicom_node.settings import tree as settings
from dicom_node.settings.destinations import DicomDestination, FhirDestination
from dicom_node.settings.peers import FindCount
from orthanc.local import CONFIG, SCRIPT
from tests.peers.orthanc import OrthancPeer, require_orthanc
from tests.peers.ports import free_port

ROOT = Path(__file__).parents[2]
SECRETS = {"POSTGRES_PASSWORD": "pg0pass", "ORTHANC_PASSWORD": "orthanc0pass"}
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
pytestmark = pytest.mark.slow


def run(command: list[str], environment: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    env = {"PATH": os.environ["PATH"], **(environment or {})}
    return subprocess.run(command, check=False, cwd=ROOT, env=env, capture_output=True, text=True)


def compose_command() -> list[str]:
    """`docker compose` or the older `docker-compose`; both parse without a daemon."""
    for command in (["docker", "compose"], ["docker-compose"]):
        if shutil.which(command[0]) and run([*command, "version"]).returncode == 0:
            return command
    pytest.skip("neither docker compose nor docker-compose is installed (Debian: docker-compose)")


def compose_config(environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """What compose makes of the file in this environment, without anyone's own .env."""
    with tempfile.NamedTemporaryFile() as empty:
        command = [*compose_command(), "--env-file", empty.name, "--file", str(ROOT / "docker-compose.yml"), "config"]
        return run(command, environment)


def mounts(service: str) -> dict[str, Path]:
    """Host path of each bind mount of a service, by its place in the container."""
    pairs = (text.split(":") for text in SERVICES[service].get("volumes", []))
    return {parts[1]: (ROOT / parts[0]).resolve() for parts in pairs if parts[0].startswith(".")}


def test_compose_takes_the_file() -> None:
    """Docker's own parser accepts the file, and the passwords arrive where they belong."""
    answer = compose_config(SECRETS)
    assert answer.returncode == 0, answer.stderr
    services = yaml.safe_load(answer.stdout)["services"]
    assert set(services) == {"node", "orthanc", "postgres", "fhir"}
    assert services["postgres"]["environment"]["POSTGRES_PASSWORD"] == SECRETS["POSTGRES_PASSWORD"]
    assert services["orthanc"]["environment"]["ORTHANC_PASSWORD"] == SECRETS["ORTHANC_PASSWORD"]


@pytest.mark.parametrize("missing", SECRETS)
def test_no_password_no_start(missing: str) -> None:
    """There is no default password: compose refuses and names the variable."""
    answer = compose_config({name: value for name, value in SECRETS.items() if name != missing})
    assert answer.returncode != 0
    assert missing in answer.stderr


def test_the_example_names_every_password() -> None:
    """Whoever copies deploy/env.example is asked for all that compose demands, and it holds no secret itself."""
    wanted = set(re.findall(r"\$\{(\w+):\?", (ROOT / "docker-compose.yml").read_text()))
    lines = (ROOT / "deploy" / "env.example").read_text().splitlines()
    assert wanted == set(SECRETS)
    assert {f"{name}=" for name in wanted} <= set(lines)


def test_images_are_pinned() -> None:
    """Every image has a tag that names a version; none follows `latest`."""
    images = [service["image"] for service in SERVICES.values()]
    images += re.findall(r"^ARG PYTHON=(\S+)", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    assert len(images) == 5
    for image in images:
        name, _, tag = image.rpartition(":")
        assert name, image
        assert re.search(r"\d+\.\d+", tag), image


def test_what_is_mounted_exists() -> None:
    """A path that is not there would become an empty folder of root's in its place."""
    found = [path for service in SERVICES for path in mounts(service).values()]
    assert len(found) == 4
    for path in found:
        assert path.exists(), path


def test_orthanc_gets_the_configuration_that_is_tested() -> None:
    """The folder that the container reads is the one that the tests' Orthanc reads, and so is the script."""
    assert mounts("orthanc")["/etc/orthanc"] == CONFIG.resolve()
    default = re.search(r"\$\{ORTHANC_CANDELA_SCRIPT:-(.+?)\}", (CONFIG / "candela.json").read_text())
    assert default
    assert mounts("orthanc")[str(Path(default[1]).parent)] / Path(default[1]).name == SCRIPT.resolve()


def test_orthanc_variables_are_those_of_its_configuration() -> None:
    """A variable that no file names would be set in vain."""
    named = set(re.findall(r"\$\{(\w+)", "".join(path.read_text() for path in CONFIG.glob("*.json"))))
    assert set(SERVICES["orthanc"]["environment"]) <= named


def test_only_loopback_is_published() -> None:
    """What stands open to the network is for an administrator to decide."""
    ports = [port for service in SERVICES.values() for port in service.get("ports", [])]
    assert len(ports) == 4
    assert all(port.startswith("127.0.0.1:") for port in ports)
    assert not SERVICES["postgres"].get("ports")


def test_every_service_comes_back_and_tells_its_health() -> None:
    """After a crash or a reboot all start again; the node's health check is in its image."""
    for name, service in SERVICES.items():
        assert service["restart"] == "unless-stopped", name
        assert "healthcheck" in service or name == "node", name
    assert "HEALTHCHECK" in (ROOT / "Dockerfile").read_text()


def test_the_node_settings_fit_the_services(monkeypatch: pytest.MonkeyPatch) -> None:
    """deploy/candela.toml is valid, and its peers are the other services at the ports where those listen."""
    for name, value in SERVICES["node"]["environment"].items():
        monkeypatch.setenv(name, re.sub(r"\$\{(\w+):\?.*?\}", lambda match: SECRETS[match[1]], value))
    loaded = settings.load(ROOT / "deploy" / "candela.toml")
    orthanc = SERVICES["orthanc"]["environment"]
    assert loaded.database_url == "postgresql://candela:pg0pass@postgres:5432/candela"
    assert (loaded.receive.ae_title, str(loaded.receive.port)) == (
        orthanc["ORTHANC_CANDELA_AET"],
        orthanc["ORTHANC_CANDELA_PORT"],
    )
    assert orthanc["ORTHANC_CANDELA_HOST"] == "node"
    peer = loaded.receive.peer(orthanc["ORTHANC_AET"])
    assert peer is not None
    pacs, ehr, count = loaded.destinations["pacs"], loaded.destinations["ehr"], peer.expected_count
    assert isinstance(pacs, DicomDestination)
    assert isinstance(ehr, FhirDestination)
    assert isinstance(count, FindCount)
    assert {(item.ae_title, item.host, item.port) for item in (pacs.peer, count.peer)} == {("ORTHANC", "orthanc", 4242)}
    assert ehr.url == "http://fhir:8080/fhir"
    assert loaded.rules


def test_the_image_holds_what_the_package_needs() -> None:
    """Each package is copied, none is kept from the daemon, and the process is not root."""
    dockerfile, ignored = (ROOT / "Dockerfile").read_text(), (ROOT / ".dockerignore").read_text().splitlines()
    for package in ("pipeline", "models", "fhir", "orthanc", "dicom_node"):
        assert re.search(rf"^COPY {package} {package}$", dockerfile, re.MULTILINE)
        assert f"!{package}" in ignored
    for file in re.findall(r"^COPY ((?:[\w.]+ )+)\./$", dockerfile, re.MULTILINE):
        for name in file.split():
            assert (ROOT / name).is_file(), name
            assert f"!{name}" in ignored
    assert re.findall(r"^USER (\w+)$", dockerfile, re.MULTILINE)[-1] == "candela"


def test_the_composed_orthanc_asks_for_its_password(tmp_path: Path) -> None:
    """A real Orthanc with the service's own environment answers nobody without the password."""
    require_orthanc()
    kept = {
        name: SECRETS.get(name, value)
        for name, value in SERVICES["orthanc"]["environment"].items()
        if name not in {"ORTHANC_REMOTE_ACCESS", "ORTHANC_PLUGINS"}  # the test's stays on this machine
    }
    ports = {"http_port": free_port(), "dicom_port": free_port(), "candela_port": free_port()}
    with OrthancPeer(tmp_path, **ports, environment=kept) as peer:
        url = f"{peer.url}/modalities/candela/configuration"
        assert httpx.get(url, trust_env=False).status_code == 401
        answer = httpx.get(url, auth=("candela", SECRETS["ORTHANC_PASSWORD"]), trust_env=False)
        assert (answer.status_code, answer.json()["Host"], answer.json()["Port"]) == (200, "node", 11112)
