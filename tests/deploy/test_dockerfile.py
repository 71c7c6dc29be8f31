"""The images: what the Dockerfiles say. The steps of the gateway's are carried out in test_runs.py."""

import ast
import fnmatch
import json
import re
import tomllib

import pytest

from gateway.cli.main import parser
from tests.deploy import files

GATEWAY = files.DEPLOY / "Dockerfile"
PROVIDER = files.COMPOSE / "provider" / "Dockerfile"
STAGES = files.stages(GATEWAY)
PINNED = re.compile(r"[a-z0-9/.-]+:[\w.-]+@sha256:[0-9a-f]{64}")
FINAL = ("phigate", "demo")


def lineage(stage):
    """A stage and those that it is built upon."""
    while stage in STAGES:
        yield STAGES[stage]
        stage = STAGES[stage].base


@pytest.mark.parametrize("file", [GATEWAY, PROVIDER], ids=["phigate", "provider"])
def test_every_base_image_is_pinned_by_tag_and_digest(file):
    stages = files.stages(file)
    bases = {stage.base for stage in stages.values()} - set(stages)

    assert bases
    assert [base for base in bases if not PINNED.fullmatch(base)] == []


def test_the_image_is_what_is_built_when_no_stage_is_named():
    assert list(STAGES)[-1] == "phigate"


@pytest.mark.parametrize("name", FINAL)
def test_nobody_is_root_in_the_image_and_nothing_is_open_but_data(name):
    steps = [step for stage in lineage(name) for step in stage.steps]
    users = [text for word, text in steps if word == "USER"]

    assert users == ["10001:10001"]
    assert [text for word, text in steps if word in ("VOLUME", "ADD")] == []
    assert re.findall(r"install -d .*", " ".join(text for _, text in steps))[0].startswith(
        "install -d -m 0700 -o phigate -g phigate /data"
    )


def test_packages_come_by_hash_as_wheels_and_leave_no_installer_and_no_compiler():
    installs = [text for stage in ("build", "build-demo") for text in STAGES[stage].all("RUN") if ".lock" in text]

    assert len(installs) == 2
    for text in installs:
        assert {"--require-hashes", "--no-deps"} <= set(text.split())
        assert "--only-binary :all:" in text
        assert "--without-pip" in text
    runtime = " ".join(text for stage in lineage("phigate") for text in stage.all("RUN"))
    assert "pip uninstall -y setuptools wheel pip" in runtime
    assert not re.search(r"gcc|build-essential|-dev\b|curl|wget|git\b", runtime)
    (apt,) = re.findall(r"apt-get install -y --no-install-recommends ([^&]*)&&", runtime)
    assert apt.split() == ["xmlsec1"]


def test_the_python_of_the_image_is_one_that_the_tests_run_on():
    tag = STAGES["base"].base.partition(":")[2]

    assert tag.startswith("3.11."), "and when it is another: pyproject's requires-python, the locks and CI go with it"


def test_python_in_the_image_imports_nothing_from_where_it_runs():
    environment = " ".join(STAGES["base"].all("ENV"))

    for setting in ("PYTHONSAFEPATH=1", "PYTHONNOUSERSITE=1", "PYTHONDONTWRITEBYTECODE=1", "PYTHONUNBUFFERED=1"):
        assert setting in environment


def test_the_command_of_the_image_is_one_of_phigate_and_its_health_is_asked_where_it_listens():
    (entry,), (command,) = STAGES["phigate"].all("ENTRYPOINT"), STAGES["phigate"].all("CMD")
    (check,), (port,) = STAGES["phigate"].all("HEALTHCHECK"), STAGES["phigate"].all("EXPOSE")

    assert json.loads(entry) == ["phigate"]
    parser().parse_args(json.loads(command))
    asked = json.loads(check.partition("CMD")[2])
    ast.parse(asked[2])
    assert f"http://127.0.0.1:{port}/healthz" in asked[2]
    for name in ("kubernetes/base", "compose"):
        listen = tomllib.loads((files.DEPLOY / name / "phigate.toml").read_text())["gateway"]["listen"]
        assert listen == f"0.0.0.0:{port}"


def test_the_image_says_what_it_is():
    labels = " ".join(STAGES["phigate"].all("LABEL"))
    project = tomllib.loads((files.ROOT / "pyproject.toml").read_text())["project"]

    for name in ("title", "description", "licenses", "version", "revision"):
        assert f"org.opencontainers.image.{name}=" in labels
    assert f"VERSION={project['version']}" in STAGES["phigate"].all("ARG")
    assert f'licenses="{project["license"]}"' in labels


def copied(stage):
    """What a stage copies out of the build context."""
    return [text.split()[:-1] for text in STAGES[stage].all("COPY") if not text.startswith("--from")]


def test_what_is_copied_is_there_and_nothing_else_is_sent_to_the_builder():
    wanted = {source for stage in STAGES for sources in copied(stage) for source in sources}
    allowed = [
        line[1:] for line in (files.DEPLOY / "Dockerfile.dockerignore").read_text().splitlines() if line[:1] == "!"
    ]

    assert [source for source in wanted if not (files.ROOT / source).exists()] == []
    for source in wanted:
        assert any(
            fnmatch.fnmatch(source, pattern) or source.startswith(f"{pattern}/") or pattern.startswith(f"{source}/")
            for pattern in allowed
        ), source
    for pattern in allowed:
        assert any(pattern.startswith(source.rpartition("/")[0] or source) for source in wanted), pattern
    assert (files.DEPLOY / "Dockerfile.dockerignore").read_text().splitlines()[1] == "*"


def test_the_provider_is_installed_from_a_lock_and_is_the_one_that_the_tests_use():
    (stage,) = files.stages(PROVIDER).values()

    assert any(text.startswith("npm ci --omit=dev --ignore-scripts") for text in stage.all("RUN"))
    assert stage.all("USER") == ["1000:1000"]
    assert packages(PROVIDER.parent) == packages(files.ROOT / "tests" / "node" / "oidc")
    for source in stage.all("COPY"):
        assert [name for name in source.split()[:-1] if not (PROVIDER.parent / name).exists()] == []


def packages(place):
    """What an npm lock installs."""
    lock = json.loads((place / "package-lock.json").read_text())
    return {name: each for name, each in lock["packages"].items() if name}
