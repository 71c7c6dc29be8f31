"""Reads what is in `deploy/` the way its tools do: a Dockerfile, a compose file, rendered Kubernetes objects."""

from __future__ import annotations

import shlex
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
COMPOSE = DEPLOY / "compose"
KUBERNETES = DEPLOY / "kubernetes"

Object = dict[str, Any]
"""A Kubernetes object, or a part of one."""


@dataclass(frozen=True)
class Stage:
    """One stage of a Dockerfile: where it begins and its instructions, in order."""

    name: str
    base: str
    steps: tuple[tuple[str, str], ...]

    def all(self, instruction: str) -> list[str]:
        """What follows each `instruction`."""
        return [text for word, text in self.steps if word == instruction]


def stages(file: Path) -> dict[str, Stage]:
    """The stages of a Dockerfile, by name; one without a name is called by its number."""
    found: dict[str, Stage] = {}
    for word, text in instructions(file.read_text()):
        if word == "FROM":
            base, *rest = text.split()
            name = rest[1] if rest else str(len(found))
            found[name] = Stage(name, base, ())
        else:
            last = list(found)[-1]
            found[last] = Stage(last, found[last].base, (*found[last].steps, (word, text)))
    return found


def instructions(text: str) -> Iterator[tuple[str, str]]:
    """The instructions of a Dockerfile, each on one line."""
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    for line in "\n".join(lines).replace("\\\n", " ").splitlines():
        if line.strip():
            word, _, rest = line.strip().partition(" ")
            yield word, " ".join(shlex.split(rest, posix=False)) if word != "RUN" else rest


def compose() -> Object:
    """deploy/compose/compose.yaml with its anchors and merges resolved."""
    return dict(yaml.safe_load((COMPOSE / "compose.yaml").read_text()))


@cache
def rendered(overlay: Path) -> tuple[Object, ...]:
    """The objects that `kubectl apply -k` would send. Skips the test when there is no kubectl."""
    if shutil.which("kubectl") is None:
        pytest.skip("needs kubectl: apt-get install kubernetes-client")
    done = subprocess.run(["kubectl", "kustomize", str(overlay)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return tuple(yaml.safe_load_all(done.stdout))


OVERLAYS = sorted(path.name for path in (KUBERNETES / "overlays").iterdir())


def overlay(name: str) -> tuple[Object, ...]:
    """The objects of one of our overlays."""
    return rendered(KUBERNETES / "overlays" / name)


def of_kind(objects: tuple[Object, ...], *kinds: str) -> list[Object]:
    """Those of some kinds."""
    return [each for each in objects if each["kind"] in kinds]


def called(objects: tuple[Object, ...], kind: str, name: str) -> Object:
    """The one object of this kind and name."""
    (found,) = (each for each in of_kind(objects, kind) if each["metadata"]["name"] == name)
    return found


def workloads(objects: tuple[Object, ...]) -> list[Object]:
    """What makes pods."""
    return of_kind(objects, "Deployment", "StatefulSet", "DaemonSet", "Job", "CronJob", "Pod", "ReplicaSet")


def template(workload: Object) -> Object:
    """The pod that a workload makes."""
    return dict(workload["spec"]["template"])


def containers(workload: Object) -> list[Object]:
    """Every container of its pods, those that run first among them."""
    spec = template(workload)["spec"]
    return [*spec.get("initContainers", []), *spec["containers"]]


def title(each: Object) -> str:
    """An object's kind and name."""
    return f"{each['kind']}/{each['metadata']['name']}"


def matches(selector: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    """Whether a label selector of `matchLabels` selects these labels."""
    assert set(selector) <= {"matchLabels"}, "only matchLabels is understood here"
    return selector.get("matchLabels", {}).items() <= labels.items()


def placed(config: str, root: Path) -> str:
    """A configuration whose absolute paths are below `root`: what a container finds at /run is at root/run."""
    for directory in ("/run/", "/usr/share/phigate/", "/etc/"):
        config = config.replace(f'"{directory}', f'"{root}{directory}').replace(f"={directory}", f"={root}{directory}")
    return config
