"""Kubernetes pods as services that tests/deploy/containers.py can run: the same images, users and mounts.

Volumes are as the kubelet makes them: a Secret's files are links to files of root's that the pod's `fsGroup` can
read, an `emptyDir` is a directory of that group, and what is mounted read-only is read-only. Network policies are not
enforced: tests/deploy/networkpolicies.py evaluates those.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.deploy import files
from tests.deploy.files import Object

NETWORK = "cluster"


def model(objects: tuple[Object, ...], secrets: Mapping[str, Path], place: Path) -> dict[str, Any]:
    """A compose model with a service for each container: `<pod>` and `<pod>-<init container>`.

    `secrets`: the directory whose files each Secret holds; `place`: where volumes are made.
    """
    services: dict[str, Any] = {}
    for workload in files.workloads(objects):
        name, pod = workload["metadata"]["name"], files.template(workload)["spec"]
        volumes = {each["name"]: _volume(place / name, each, pod, objects, secrets) for each in pod["volumes"]}
        for claim in workload["spec"].get("volumeClaimTemplates", []):
            volumes[claim["metadata"]["name"]] = _empty(place / name / claim["metadata"]["name"], pod)
        waits = {}
        for container in pod.get("initContainers", []):
            first = f"{name}-{container['name']}"
            services[first] = _service(container, pod, volumes)
            waits[first] = {"condition": "service_completed_successfully"}
        (container,) = pod["containers"]
        namespace = workload["metadata"]["namespace"]
        names = {"aliases": [f"{name}.{namespace}.svc.cluster.local"]}
        services[name] = {**_service(container, pod, volumes), "depends_on": waits, "networks": {NETWORK: names}}
    return {"services": services, "networks": {NETWORK: {}}}


def _service(container: Object, pod: Object, volumes: Mapping[str, Path]) -> dict[str, Any]:
    user = pod["securityContext"]
    mounts = [
        {
            "type": "bind",
            "source": str(volumes[mount["name"]]),
            "target": mount["mountPath"],
            "read_only": mount.get("readOnly", False),
        }
        for mount in container["volumeMounts"]
    ]
    service = {
        "image": container["image"].rpartition("/")[2],
        "user": f"{user['runAsUser']}:{user['runAsGroup']}",
        "volumes": mounts,
        "environment": {each["name"]: each["value"] for each in container.get("env", [])},
        "command": [str(word) for word in container.get("args", [])],
    }
    if "command" in container:
        service["entrypoint"] = container["command"]
    probe = container.get("readinessProbe", {})
    if "exec" in probe:
        service["healthcheck"] = {"test": ["CMD", *probe["exec"]["command"]]}
    return service


def _volume(place: Path, told: Object, pod: Object, objects: tuple[Object, ...], secrets: Mapping[str, Path]) -> Path:
    path = place / told["name"]
    if "emptyDir" in told:
        return _empty(path, pod)
    path.mkdir(parents=True)
    data = path / "..2026_11_22"
    data.mkdir()
    if "configMap" in told:
        held = files.called(objects, "ConfigMap", told["configMap"]["name"])["data"]
        for name, text in held.items():
            (data / name).write_text(text)
    else:
        group, mode = pod["securityContext"]["fsGroup"], told["secret"]["defaultMode"]
        for file in secrets[told["secret"]["secretName"]].iterdir():
            shutil.copy(file, data / file.name)
            os.chown(data / file.name, 0, group)
            (data / file.name).chmod(mode)
    (path / "..data").symlink_to(data.name)
    for file in data.iterdir():
        (path / file.name).symlink_to(f"..data/{file.name}")
    return path


def _empty(path: Path, pod: Object) -> Path:
    path.mkdir(parents=True)
    os.chown(path, 0, pod["securityContext"].get("fsGroup", 0))
    path.chmod(0o2777)
    return path
