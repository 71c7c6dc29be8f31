"""A policy scan by Checkov: what it objects to is mended, or stands here with the reason why it is as it is."""

import json
import os
import shutil
import subprocess

import yaml

from tests import real_parts
from tests.deploy import files

ACCEPTED = {
    "CKV_K8S_43": "a digest of our own image: whoever pushes it learns it, and docs/deployment.md pins it",
    "CKV_K8S_15": "pulling again and again: a name that is pinned never means another image, and registries fail",
    "CKV_K8S_35": "a secret in the environment: libpq takes no password file that a group can read",
    "CKV_K8S_40": "a high user id: 999 is who the official image's PostgreSQL is",
}
WHERE = {
    "CKV_K8S_43": {"Deployment.phigate.phigate", "Job.phigate.phigate-migrate", "Deployment.clinic.clinic"},
    "CKV_K8S_15": {"Deployment.phigate.phigate", "Job.phigate.phigate-migrate", "Deployment.clinic.clinic"},
    "CKV_K8S_35": {"Job.phigate.phigate-migrate"},
    "CKV_K8S_40": {"StatefulSet.databases.postgresql"},
}


def scanned(place):
    """What Checkov finds in a directory: for each kind of file how many checks passed, and which failed where."""
    command = [real_parts.python_tool("checkov"), "-d", place, "--framework", "kubernetes", "dockerfile"]
    # Nothing is fetched from its maker, and nothing told.
    environment = {**os.environ, "BC_SKIP_MAPPING": "TRUE", "CHECKOV_RUN_SCA_PACKAGE_SCAN_V2": "false"}
    done = subprocess.run(
        [*command, "--skip-download", "--compact", "--quiet", "-o", "json"],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    told = json.loads(done.stdout)
    reports = told if isinstance(told, list) else [told]
    failed = [check for each in reports for check in each["results"]["failed_checks"]]
    return (
        {each["check_type"]: each["summary"]["passed"] for each in reports},
        {(check["check_id"], check["resource"]) for check in failed},
    )


def test_the_scan_finds_nothing_but_what_is_argued_for(tmp_path):
    for name in files.OVERLAYS:
        (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump_all(files.overlay(name)))
    for name, file in (("phigate", "Dockerfile"), ("provider", "compose/provider/Dockerfile")):
        (tmp_path / name).mkdir()
        shutil.copy(files.DEPLOY / file, tmp_path / name / "Dockerfile")

    passed, failed = scanned(tmp_path)

    assert failed == {(check, resource) for check, resources in WHERE.items() for resource in resources}
    assert passed["kubernetes"] > 500
    assert passed["dockerfile"] > 50
    assert set(WHERE) == set(ACCEPTED)


def test_the_scan_objects_to_a_container_that_may_be_root(tmp_path):
    pod = {"containers": [{"name": "one", "image": "one:latest"}]}
    bad = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "bad"}, "spec": pod}
    (tmp_path / "bad.yaml").write_text(yaml.safe_dump(bad))
    (tmp_path / "Dockerfile").write_text("FROM debian:latest\nRUN apt-get update\n")

    _, failed = scanned(tmp_path)

    assert {"CKV_K8S_23", "CKV_K8S_22", "CKV_K8S_14", "CKV_DOCKER_3", "CKV_DOCKER_7"} <= {check for check, _ in failed}
