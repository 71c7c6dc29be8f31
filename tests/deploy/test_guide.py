"""docs/deployment.md and the READMEs of deploy/: what they tell people to run and to write is so."""

import re
import shlex
import shutil
import subprocess
import sys

import pytest

from gateway.cli.main import parser
from tests.deploy import files
from tests.deploy.test_kubernetes import NEEDED_SECRETS

GUIDE = files.ROOT / "docs" / "deployment.md"
PAGES = [GUIDE, *sorted(files.DEPLOY.rglob("README.md"))]
TEXT = GUIDE.read_text()


def lines_of_code(text):
    """The command lines of a page: in fences, indented, or in a comment of a manifest."""
    fenced, found = False, []
    for line in text.splitlines():
        if line.strip().startswith("```"):
            fenced = not fenced
        elif fenced or line.startswith(("    ", "#   ")):
            found.append(line.lstrip("# ").strip())
    return found


def test_every_command_of_phigate_that_is_told_is_one():
    texts = [page.read_text() for page in (*PAGES, *files.KUBERNETES.rglob("*.yaml"))]
    told = [line for text in texts for line in lines_of_code(text) if re.search(r"(^|exec gateway-1 )phigate ", line)]

    assert len(told) >= 5
    for line in told:
        parser().parse_args(shlex.split(line.partition("phigate ")[2]))


def test_the_tables_have_every_overlay_and_every_component():
    there = {path.name for kind in ("overlays", "components") for path in (files.KUBERNETES / kind).iterdir()}
    rows = re.findall(r"^\| (`[a-z`, -]+`) \|", TEXT.partition("## Kubernetes")[2], re.MULTILINE)

    assert {name for row in rows for name in re.findall(r"`([a-z-]+)`", row)} == there


def test_the_overlay_of_ones_own_renders_with_ones_own_image_and_configuration(tmp_path):
    (text,) = re.findall(r"```yaml\n(.*?)```", TEXT, re.DOTALL)
    tree = tmp_path / "kubernetes"
    shutil.copytree(files.KUBERNETES, tree)
    (tree / "overlays" / "ours").mkdir()
    (tree / "overlays" / "ours" / "kustomization.yaml").write_text(re.sub(r"^   ", "", text, flags=re.MULTILINE))
    (tree / "overlays" / "ours" / "phigate.toml").write_text("# ours\n")

    objects = files.rendered(tree / "overlays" / "ours")

    (config,) = files.of_kind(objects, "ConfigMap")
    assert config["data"] == {"phigate.toml": "# ours\n"}
    pod = files.template(files.called(objects, "Deployment", "phigate"))["spec"]
    assert {each["image"] for each in files.containers(files.called(objects, "Job", "phigate-migrate"))} == {
        "registry.ours.example/phigate@sha256:" + 64 * "0"
    }
    assert config["metadata"]["name"] in {volume.get("configMap", {}).get("name") for volume in pod["volumes"]}


def test_every_secret_that_is_mounted_is_made_by_the_guide():
    made = set(re.findall(r"create secret (?:generic|tls) ([a-z-]+)", TEXT))

    assert made == NEEDED_SECRETS


def test_the_secrets_of_the_demo_overlay_are_made_as_told(tmp_path):
    (line,) = [line for line in lines_of_code(TEXT) if line.startswith("python deploy/compose/parts/prepare.py")]
    program, *arguments = shlex.split(line)[1:]
    done = subprocess.run(
        [sys.executable, files.ROOT / program, *arguments], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    named = re.findall(r"--from-file=(?:[\w.]+=)?(made/\S+)", TEXT)

    assert len(named) == 3
    assert [path for path in named if not (tmp_path / path).exists()] == []
    server = (files.KUBERNETES / "overlays/demo/postgresql.yaml").read_text()
    for name in re.findall(r"/run/(?:tls|secrets/database)/([\w.]+)", server):
        assert list((tmp_path / "made/database").glob(name if "." in name and name[-1] != "." else f"{name}*")), name
    database = re.search(r"--database (\S+)", line)[1]
    assert database in (files.KUBERNETES / "base/phigate.toml").read_text()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(files.ROOT)))
def test_every_link_leads_somewhere(page):
    links = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text())

    assert [link for link in links if not (page.parent / link).exists()] == []


def test_the_guide_says_what_was_never_done():
    assert "Never done: a build by Docker, `docker compose up`, and an apply to a real cluster." in TEXT
