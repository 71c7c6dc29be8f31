"""deploy/compose: valid by the specification, closed where it must be, complete in itself, and in step with the code.

`docker compose config` needs Docker; what it checks, and more, is checked here. What can run without Docker runs in
test_runs.py.
"""

import ast
import json
import re
import shutil
import subprocess
import tomllib
from urllib.parse import urlsplit

import pytest

from gateway import config as configuration
from gateway import supervisor
from gateway.cli.main import parser
from gateway.store import keys
from tests import real_parts
from tests.deploy import files

MODEL = files.compose()
SERVICES = MODEL["services"]
CONFIG = (files.COMPOSE / "phigate.toml").read_text()
NGINX = (files.COMPOSE / "nginx.conf").read_text()
ONCE = {"prepare", "wrapping-keys", "store", "agent"}
"""They end by themselves."""
PREPARE = ast.parse((files.COMPOSE / "parts" / "prepare.py").read_text())

every_service = pytest.mark.parametrize("name", SERVICES)


def networks(name):
    """The networks of a service; with their aliases when it has any."""
    told = SERVICES[name].get("networks", {})
    return told if isinstance(told, dict) else dict.fromkeys(told)


def reach(name):
    """The services that another one can connect to: those with which it shares a network."""
    return {other for other in SERVICES if other != name and set(networks(other)) & set(networks(name))}


def mounts(name):
    """What a service sees at which path."""
    return {volume["target"]: volume for volume in SERVICES[name].get("volumes", [])}


def arguments(name):
    """What a service passes to the program of its image."""
    return [str(word) for word in SERVICES[name].get("command", [])]


def test_the_file_is_valid_by_the_compose_specification(tmp_path):
    (tmp_path / "compose.json").write_text(json.dumps(MODEL))
    command = [real_parts.python_environment("deploy") / "check-jsonschema", "--builtin-schema", "vendor.compose-spec"]
    done = subprocess.run([*command, tmp_path / "compose.json"], capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stdout + done.stderr


def test_the_compose_specification_finds_a_misspelt_key(tmp_path):
    services = {**SERVICES, "clinic": {**SERVICES["clinic"], "netwerks": ["edge"]}}
    (tmp_path / "compose.json").write_text(json.dumps({**MODEL, "services": services}))
    command = [real_parts.python_environment("deploy") / "check-jsonschema", "--builtin-schema", "vendor.compose-spec"]
    done = subprocess.run([*command, tmp_path / "compose.json"], capture_output=True, text=True, check=False)

    assert done.returncode == 1
    assert "netwerks" in done.stdout


def test_nothing_is_left_to_variables_of_whoever_starts_it():
    assert "$" not in (files.COMPOSE / "compose.yaml").read_text()


@every_service
def test_every_reference_leads_somewhere(name):
    service = SERVICES[name]
    assert set(networks(name)) <= set(MODEL["networks"])
    assert set(service.get("depends_on", {})) <= set(SERVICES)
    for volume in mounts(name).values():
        if volume["type"] == "volume":
            assert volume["source"] in MODEL["volumes"]
        else:
            assert volume["read_only"] is True
            assert (files.COMPOSE / volume["source"]).is_file()
    if "build" in service:
        build = service["build"] if isinstance(service["build"], dict) else {"context": service["build"]}
        context = files.COMPOSE / build["context"]
        dockerfile = context / build.get("dockerfile", "Dockerfile")
        assert build.get("target", next(iter(files.stages(dockerfile)))) in files.stages(dockerfile)


def test_every_volume_and_network_is_used():
    used = {volume["source"] for name in SERVICES for volume in mounts(name).values() if volume["type"] == "volume"}

    assert used == set(MODEL["volumes"])
    assert {network for name in SERVICES for network in networks(name)} == set(MODEL["networks"])


@every_service
def test_a_service_waits_only_for_what_says_when_it_is_there(name):
    for other, told in SERVICES[name].get("depends_on", {}).items():
        if told["condition"] == "service_completed_successfully":
            assert other in ONCE
        if told["condition"] == "service_healthy":
            dockerfile = files.COMPOSE / "provider" / "Dockerfile" if other == "login" else None
            assert "healthcheck" in SERVICES[other] or "HEALTHCHECK" in (dockerfile.read_text() if dockerfile else "")


@every_service
def test_every_image_is_built_here_or_pinned_by_digest(name):
    image = SERVICES[name]["image"]

    assert "build" in SERVICES[name] or re.fullmatch(r"[\w./-]+:[\w.-]+@sha256:[0-9a-f]{64}", image)
    assert not image.endswith(":latest")


@every_service
def test_every_container_is_closed_in(name):
    service = SERVICES[name]

    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["pids_limit"] <= 256
    assert {"privileged", "pid", "ipc", "devices", "userns_mode"} & set(service) == set()
    assert service["restart"] == ("no" if name in ONCE else "unless-stopped")


def test_only_what_makes_the_secrets_is_root_and_it_has_no_network_and_one_right():
    roots = [name for name in SERVICES if SERVICES[name].get("user", "").startswith("0")]

    assert roots == ["prepare"]
    assert [name for name in SERVICES if "cap_add" in SERVICES[name]] == ["prepare"]
    assert SERVICES["prepare"]["cap_add"] == ["CHOWN"]
    assert SERVICES["prepare"]["network_mode"] == "none"


def test_only_the_ingress_has_a_port_of_this_machine_and_no_other_machine_reaches_it():
    assert [name for name in SERVICES if "ports" in SERVICES[name]] == ["ingress"]
    assert SERVICES["ingress"]["ports"] == ["127.0.0.1:8443:8443"]


def test_only_the_gateways_reach_the_upstream():
    assert {name for name in SERVICES if "clinic" in reach(name)} == {"gateway-1", "gateway-2"}


def test_only_the_gateways_and_the_migration_reach_the_database():
    assert {name for name in SERVICES if "database" in reach(name)} == {"gateway-1", "gateway-2", "store"}


def test_an_agent_reaches_the_ingress_and_nothing_else():
    assert reach("agent") == {"ingress"}


def test_only_the_network_of_the_ingress_leads_out():
    open_ones = {name for name, network in MODEL["networks"].items() if not (network or {}).get("internal")}

    assert open_ones == {"edge"}
    assert {name for name in SERVICES if open_ones & set(networks(name))} == {"ingress", "agent"}


def test_secrets_are_seen_by_whom_they_are_for():
    held = {name: {v["source"] for v in mounts(name).values() if v["type"] == "volume"} for name in SERVICES}

    assert {name for name in held if "gateway-secrets" in held[name]} == {
        "gateway-1",
        "gateway-2",
        "prepare",
        "store",
        "wrapping-keys",
    }
    assert {name for name in held if "database-secrets" in held[name]} == {"database", "prepare"}
    assert {name for name in held if "ingress-secrets" in held[name]} == {"ingress", "prepare"}
    writers = {name for name in held for volume in mounts(name).values() if not volume.get("read_only")}
    assert writers == {"prepare", "wrapping-keys", "database"}
    assert mounts("database")["/run/database"]["read_only"] is True


def test_no_secret_stands_in_the_environment():
    names = {key for name in SERVICES for key in SERVICES[name].get("environment", {})}

    assert {name for name in names if re.search("PASSWORD|SECRET|TOKEN|KEY", name)} == {"POSTGRES_PASSWORD_FILE"}


def test_the_users_of_the_secrets_are_those_of_the_images():
    given = {node.targets[0]: node.value for node in PREPARE.body if isinstance(node, ast.Assign)}
    (users,) = (
        [element.value for element in value.elts]
        for target, value in given.items()
        if isinstance(target, ast.Tuple) and [name.id for name in target.elts] == ["GATEWAY", "DATABASE", "INGRESS"]
    )

    assert f"--uid {users[0]} " in (files.DEPLOY / "Dockerfile").read_text()
    assert SERVICES["database"]["user"] == f"{users[1]}:{users[1]}"
    # nginx-unprivileged's own, and its image is not told otherwise.
    assert users[2] == 101
    assert "user" not in SERVICES["ingress"]


@pytest.mark.parametrize("name", ["gateway-1", "gateway-2", "store", "wrapping-keys"])
def test_the_arguments_of_our_image_are_commands_of_phigate(name):
    default = json.loads(files.stages(files.DEPLOY / "Dockerfile")["phigate"].all("CMD")[0])

    parsed = parser().parse_args(arguments(name) or default)

    assert str(parsed.config) in mounts(name)


@pytest.mark.parametrize("name", ["prepare", "clinic", "agent"])
def test_the_programs_of_the_demo_are_in_its_image(name):
    script, *_ = arguments(name)

    assert script.startswith("/opt/demo/")
    assert (files.COMPOSE / "parts" / script.removeprefix("/opt/demo/")).is_file()
    assert "COPY deploy/compose/parts /opt/demo" in (files.DEPLOY / "Dockerfile").read_text()


def load(root):
    """The gateways' configuration, with what their containers have mounted under `root`."""
    (root / "run/phigate").mkdir(parents=True)
    (root / "usr/share/phigate").mkdir(parents=True)
    keys.generate(root / "run/phigate/keys", origin="phigate.localhost/phigate")
    (root / "run/phigate/database-password").write_text("synthetic")
    (root / "run/phigate/database-password").chmod(0o600)
    (root / "run/phigate/ca.pem").write_text("")
    shutil.copy(files.ROOT / "gateway/pdp/library.tar.gz", root / "usr/share/phigate/policy.tar.gz")
    file = root / "phigate.toml"
    file.write_text(files.placed(CONFIG, root))
    return configuration.load(file)


def test_the_configuration_loads_and_names_the_services(tmp_path):
    loaded = load(tmp_path)
    seen = {**networks("ingress")["gateways"], **networks("ingress")["edge"]}

    assert loaded.gateway.port == 8080
    assert urlsplit(loaded.upstreams[0].url).netloc == "clinic:8000"
    assert "@database/" in CONFIG
    assert {urlsplit(loaded.gateway.public_url).hostname, urlsplit(loaded.issuers[0].url).hostname} == set(
        seen["aliases"]
    )
    assert SERVICES["login"]["environment"]["ISSUER"] == loaded.issuers[0].url
    assert SERVICES["login"]["environment"]["RESOURCES"] == f"{loaded.gateway.public_url}/mcp/"
    assert SERVICES["login"]["environment"]["PAGES"] == f"{loaded.gateway.public_url}/login/callback/demo"
    assert tomllib.loads(CONFIG)["gateway"]["trusted_proxies"] == [
        f"{networks('ingress')['gateways']['ipv4_address']}/32"
    ]


def test_what_the_configuration_names_is_what_prepare_makes_and_the_gateways_see():
    paths = re.findall(r'["=](/run/[^"&?]+)["&]', CONFIG)
    made = (files.COMPOSE / "parts" / "prepare.py").read_text()

    assert len(paths) == 3
    assert mounts("gateway-1")["/run/phigate"]["source"] == "gateway-secrets"
    assert mounts("prepare")["/out/gateway"]["source"] == "gateway-secrets"
    for path in paths:
        assert f'out / "gateway" / "{path.removeprefix("/run/phigate/")}"' in made


def test_a_gateway_has_longer_to_end_than_its_running_calls_may_take(tmp_path):
    drain = load(tmp_path).gateway.drain_s

    for name in ("gateway-1", "gateway-2"):
        assert int(SERVICES[name]["stop_grace_period"].removesuffix("s")) > drain + supervisor.GRACE_S


def test_the_ingress_names_the_services_and_waits_and_takes_as_much_as_the_gateway(tmp_path):
    loaded = load(tmp_path)
    size, wait = re.search(r"client_max_body_size (\d+)m;", NGINX), re.search(r"proxy_read_timeout (\d+)s;", NGINX)

    assert set(re.findall(r"server ([\w-]+):(\d+)[ ;]", NGINX)) == {
        ("gateway-1", "8080"),
        ("gateway-2", "8080"),
        ("login", "3000"),
    }
    assert set(re.findall(r"server_name (\S+);", NGINX)) == set(networks("ingress")["edge"]["aliases"])
    assert int(size[1]) << 20 == loaded.gateway.max_request_bytes
    assert int(wait[1]) > loaded.upstreams[0].call_s
    assert "proxy_next_upstream error timeout;" in NGINX
    assert "proxy_buffering off;" in NGINX


def test_the_log_of_the_ingress_has_neither_paths_nor_query_strings_nor_tokens():
    (line,) = re.findall(r"log_format discreet '(.*)';", NGINX)

    assert set(re.findall(r"\$\w+", line)) == {"$time_iso8601", "$status", "$request_method", "$host", "$request_time"}
    assert re.findall(r"access_log (.*);", NGINX) == ["/dev/stdout discreet"]


def test_the_versions_are_those_of_this_release():
    version = tomllib.loads((files.ROOT / "pyproject.toml").read_text())["project"]["version"]

    ours = {SERVICES[name]["image"] for name in SERVICES if "build" in SERVICES[name]}

    assert {image.rpartition(":")[2] for image in ours} == {version}
