"""The Kubernetes manifests: valid against real schemas, hardened, complete in themselves, and in step with the code."""

import json
import re
import shutil
import stat
import subprocess
import tomllib

import pytest
import yaml

from gateway import config as configuration
from gateway import supervisor
from gateway.cli.main import parser
from gateway.identity.peer import CERTIFICATE_HEADERS
from gateway.store import engines, keys
from gateway.web import health
from tests import real_parts
from tests.deploy import files

BASE = files.KUBERNETES / "base"
EXTENSIONS = {"HTTPRoute": "gateway.networking.k8s.io/v1", "ServiceMonitor": "monitoring.coreos.com/v1"}
CONFIG = (BASE / "phigate.toml").read_text()
NEEDED_SECRETS = {"phigate-keys", "phigate-database", "phigate-database-owner", "phigate-tls", "postgresql"}
"""What docs/deployment.md says how to make; Secrets are never in the repository."""

everywhere = pytest.mark.parametrize("overlay", files.OVERLAYS)


def gateway(overlay):
    return files.called(files.overlay(overlay), "Deployment", "phigate")


def workloads(overlay):
    return files.workloads(files.overlay(overlay))


@everywhere
def test_every_object_is_valid_by_the_schema_of_kubernetes(overlay, tmp_path):
    core = [each for each in files.overlay(overlay) if each["kind"] not in EXTENSIONS]
    for number, each in enumerate(core):  # It stops at the first fault of a file.
        (tmp_path / f"{number}.yaml").write_text(yaml.safe_dump(each))
    command = [real_parts.python_environment("deploy") / "kubernetes-validate", "--strict"]
    done = subprocess.run([*command, *sorted(tmp_path.iterdir())], capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stdout + done.stderr
    assert len(re.findall("passed for resource", done.stdout + done.stderr)) == len(core)


def test_the_schema_of_kubernetes_finds_a_misspelt_field(tmp_path):
    object = json.loads(json.dumps(gateway("ingress")))
    object["spec"]["template"]["spec"]["containers"][0]["securityContext"]["readOnlyRootFileSystem"] = True
    (tmp_path / "bad.yaml").write_text(yaml.safe_dump(object))
    command = [real_parts.python_environment("deploy") / "kubernetes-validate", "--strict", tmp_path / "bad.yaml"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)

    assert done.returncode != 0


def faults_of_extensions(objects):
    """What the published schemas of the Gateway API and of Prometheus' operator say of objects."""
    place = real_parts.npm_set("kubernetes")
    script = files.ROOT / "tests" / "node" / "kubernetes" / "validate.mjs"
    done = subprocess.run(
        [real_parts.node(), script], cwd=place, input=json.dumps(objects), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_every_object_of_an_extension_is_valid_by_its_schema():
    found = {files.title(each): each for name in files.OVERLAYS for each in files.overlay(name)}
    extensions = [each for each in found.values() if each["kind"] in EXTENSIONS]

    assert {each["kind"]: each["apiVersion"] for each in extensions} == EXTENSIONS
    assert [told for told in faults_of_extensions(extensions) if told["faults"]] == []


@pytest.mark.parametrize("kind", EXTENSIONS)
def test_no_field_of_an_extension_is_misspelt(kind):
    # Their schemas let unknown fields pass, and the API server drops them without a word.
    package = {"HTTPRoute": "gateway-api", "ServiceMonitor": "prometheus-operator"}[kind]
    place = real_parts.npm_set("kubernetes") / "node_modules" / "@kubernetes-models" / package / EXTENSIONS[kind]
    known = set(re.findall(r'"(\w+)"\??:', "".join(file.read_text() for file in place.glob("*.d.ts"))))
    object = next(each for name in files.OVERLAYS for each in files.overlay(name) if each["kind"] == kind)

    assert fields(object["spec"]) - known == set()


def fields(value):
    """The names of all fields, labels aside: those are anybody's."""
    if isinstance(value, list):
        return {name for each in value for name in fields(each)}
    if isinstance(value, dict):
        named = {key: each for key, each in value.items() if key != "matchLabels"}
        return set(named) | {name for each in named.values() for name in fields(each)}
    return set()


def test_the_schema_of_the_gateway_api_finds_a_wrong_duration():
    route = files.called(files.overlay("gateway-api"), "HTTPRoute", "phigate")
    rules = [{**route["spec"]["rules"][0], "timeouts": {"request": "5 minutes"}}]

    (told,) = faults_of_extensions([{**route, "spec": {**route["spec"], "rules": rules}}])

    assert "timeouts/request" in told["faults"]


def test_a_client_cannot_write_a_certificate_into_a_header_that_no_proxy_of_the_gateway_api_strips_by_itself():
    (rule,) = files.called(files.overlay("gateway-api"), "HTTPRoute", "phigate")["spec"]["rules"]
    removed = {name for each in rule["filters"] for name in each["requestHeaderModifier"]["remove"]}

    # Envoy and its kin strip or write x-forwarded-client-cert themselves; to remove it here would take theirs.
    assert set(CERTIFICATE_HEADERS) - {"x-forwarded-client-cert"} <= removed


@everywhere
def test_no_container_runs_as_root_gains_rights_or_writes_to_its_image(overlay):
    for workload in workloads(overlay):
        pod = files.template(workload)["spec"]
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["runAsUser"] >= 100
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        for container in files.containers(workload):
            context = container["securityContext"]
            assert context["readOnlyRootFilesystem"] is True, (files.title(workload), container["name"])
            assert context["allowPrivilegeEscalation"] is False
            assert context["privileged"] is False
            assert context["capabilities"] == {"drop": ["ALL"]}
            assert {"runAsUser", "runAsNonRoot", "seccompProfile"} & set(context) == set()


@everywhere
def test_no_pod_shares_anything_with_its_node_or_holds_a_token_for_the_api(overlay):
    for workload in workloads(overlay):
        pod = files.template(workload)["spec"]
        assert pod["automountServiceAccountToken"] is False, files.title(workload)
        assert {"hostNetwork", "hostPID", "hostIPC"} & set(pod) == set()
        assert [each for each in pod["volumes"] if "hostPath" in each] == []
        assert [
            port for each in files.containers(workload) for port in each.get("ports", []) if "hostPort" in port
        ] == []


@everywhere
def test_every_namespace_lets_only_restricted_pods_in(overlay):
    for each in files.of_kind(files.overlay(overlay), "Namespace"):
        assert each["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"


@everywhere
def test_every_container_says_what_it_needs_and_what_it_may_use(overlay):
    for workload in workloads(overlay):
        for container in files.containers(workload):
            for bound in ("requests", "limits"):
                assert set(container["resources"][bound]) == {"cpu", "memory"}, (files.title(workload), bound)


@everywhere
def test_every_image_is_pinned(overlay):
    for workload in workloads(overlay):
        for container in files.containers(workload):
            ours = container["image"].startswith("registry.example.com/phigate")
            assert re.search(r":0\.1\.0$" if ours else r"@sha256:[0-9a-f]{64}$", container["image"]), container["image"]


@everywhere
def test_every_reference_leads_to_an_object_or_to_a_secret_that_the_guide_makes(overlay):
    objects = files.overlay(overlay)
    there = {(each["kind"], each["metadata"].get("namespace"), each["metadata"]["name"]) for each in objects}
    for workload in workloads(overlay):
        pod, namespace = files.template(workload)["spec"], workload["metadata"]["namespace"]
        mounted = {each["name"] for each in pod["volumes"]} | {
            each["metadata"]["name"] for each in workload["spec"].get("volumeClaimTemplates", [])
        }
        used = {mount["name"] for each in files.containers(workload) for mount in each.get("volumeMounts", [])}
        assert used == mounted, files.title(workload)
        for volume in pod["volumes"]:
            if "configMap" in volume:
                assert ("ConfigMap", namespace, volume["configMap"]["name"]) in there
            if "secret" in volume:
                assert volume["secret"]["secretName"] in NEEDED_SECRETS
        for variable in (each for container in files.containers(workload) for each in container.get("env", [])):
            if "valueFrom" in variable:
                assert variable["valueFrom"]["secretKeyRef"]["name"] in NEEDED_SECRETS
        if "serviceAccountName" in pod:
            assert ("ServiceAccount", namespace, pod["serviceAccountName"]) in there
    assert files.of_kind(objects, "Secret") == []


@everywhere
def test_no_volume_is_mounted_inside_another_one(overlay):
    # The mount point would have to be made in a volume that is read-only.
    for workload in workloads(overlay):
        for container in files.containers(workload):
            paths = [mount["mountPath"] for mount in container["volumeMounts"]]
            assert [(a, b) for a in paths for b in paths if b.startswith(f"{a}/")] == []


@everywhere
def test_every_selector_selects_pods_and_every_port_has_its_name(overlay):
    objects = files.overlay(overlay)
    pods = [(each["metadata"]["namespace"], files.template(each)) for each in workloads(overlay)]
    for service in files.of_kind(objects, "Service"):
        chosen = [pod for namespace, pod in pods if namespace == service["metadata"]["namespace"]]
        chosen = [pod for pod in chosen if service["spec"]["selector"].items() <= pod["metadata"]["labels"].items()]
        assert len(chosen) == 1, files.title(service)
        names = {port["name"] for each in chosen[0]["spec"]["containers"] for port in each["ports"]}
        assert {port["targetPort"] for port in service["spec"]["ports"]} <= names
    for each in (*files.of_kind(objects, "PodDisruptionBudget"), *workloads(overlay)):
        selector = each["spec"].get("selector")
        if selector:
            labels = [pod["metadata"]["labels"] for _, pod in pods]
            assert sum(files.matches(selector, each) for each in labels) == 1


@everywhere
def test_clients_are_led_to_the_service_of_the_gateway(overlay):
    objects = files.overlay(overlay)
    ports = {port["name"]: port["port"] for port in files.called(objects, "Service", "phigate")["spec"]["ports"]}
    hosts = set()
    for each in files.of_kind(objects, "Ingress"):
        (rule,) = each["spec"]["rules"]
        assert rule["http"]["paths"][0]["backend"]["service"] == {"name": "phigate", "port": {"name": "http"}}
        assert each["spec"]["tls"][0]["hosts"] == [rule["host"]]
        hosts.add(rule["host"])
    for each in files.of_kind(objects, "HTTPRoute"):
        assert each["spec"]["rules"][0]["backendRefs"] == [{"name": "phigate", "port": ports["http"]}]
        hosts.update(each["spec"]["hostnames"])

    assert {f"https://{host}" for host in hosts} == {tomllib.loads(CONFIG)["gateway"]["public_url"]}


@everywhere
def test_the_arguments_of_our_image_are_commands_of_phigate(overlay):
    asked = set()
    for workload in workloads(overlay):
        for container in files.containers(workload):
            if container["image"] == "registry.example.com/phigate:0.1.0" and "command" not in container:
                parser().parse_args(container["args"])
                asked.add(container["args"][0])

    assert asked == {"serve", "store"}


def test_in_production_the_migration_is_the_owner_and_the_gateways_are_a_role_with_fewer_rights():
    (container,) = files.template(files.called(files.overlay("production"), "Job", "phigate-migrate"))["spec"][
        "containers"
    ]
    told = parser().parse_args(container["args"])
    served = tomllib.loads(CONFIG)["evidence"]["store"]

    assert told.store == served.replace("//phigate@", "//phigate_owner@")
    assert [each["name"] for each in container["env"]] == ["PGPASSWORD"]
    assert engines.parse(told.store)


@everywhere
def test_probes_ask_what_there_is_and_wait_longer_than_an_answer_takes(overlay):
    (container,) = files.template(gateway(overlay))["spec"]["containers"]
    ready, alive, start = (container[f"{each}Probe"] for each in ("readiness", "liveness", "startup"))

    assert ready["httpGet"] == {"path": "/readyz", "port": "http"}
    assert alive["httpGet"] == start["httpGet"] == {"path": "/healthz", "port": "http"}
    assert ready["timeoutSeconds"] > health.PROBE_S
    assert start["periodSeconds"] * start["failureThreshold"] >= supervisor.START_S


@everywhere
def test_a_pod_has_longer_to_end_than_its_running_calls_may_take(overlay):
    pod = files.template(gateway(overlay))["spec"]
    told = tomllib.loads(CONFIG)["gateway"]

    # Kubernetes tells the proxies while it tells the pod, so the pod itself waits for them.
    assert told["drain_delay_s"] >= 5
    assert pod["terminationGracePeriodSeconds"] >= told["drain_delay_s"] + told["drain_s"] + supervisor.GRACE_S + 10


@everywhere
def test_a_rollout_or_a_drained_node_leaves_a_gateway_serving(overlay):
    objects = files.overlay(overlay)
    deployment = gateway(overlay)
    scaled = [each["spec"]["minReplicas"] for each in files.of_kind(objects, "HorizontalPodAutoscaler")]

    assert (scaled or [deployment["spec"]["replicas"]])[0] >= 2
    assert not (scaled and "replicas" in deployment["spec"]), "the two would undo each other"
    assert deployment["spec"]["strategy"]["rollingUpdate"] == {"maxSurge": 1, "maxUnavailable": 0}
    assert files.called(objects, "PodDisruptionBudget", "phigate")["spec"]["maxUnavailable"] == 1
    assert len(files.template(deployment)["spec"]["topologySpreadConstraints"]) == 2


def test_the_ingress_waits_and_takes_as_much_as_the_gateway(tmp_path):
    loaded = load(tmp_path)
    words = files.called(files.overlay("ingress"), "Ingress", "phigate")["metadata"]["annotations"]
    said = {name.removeprefix("nginx.ingress.kubernetes.io/"): value for name, value in words.items()}

    assert int(said["proxy-read-timeout"]) > max(each.call_s for each in loaded.upstreams)
    assert int(said["proxy-body-size"].removesuffix("m")) << 20 == loaded.gateway.max_request_bytes
    assert said["proxy-next-upstream"] == "error timeout", "with non_idempotent a call could run twice"
    assert said["proxy-buffering"] == "off"


def load(root):
    """The configuration of the base, with what a pod has mounted under `root`."""
    for name in ("run/keys", "run/database", "usr/share/phigate"):
        (root / name).mkdir(parents=True)
    keys.generate(root / "run/keys/phigate", origin="phigate.example.com/phigate")
    (root / "run/database/password").write_text("synthetic")
    (root / "run/database/ca.crt").write_text("")
    shutil.copy(files.ROOT / "gateway/pdp/library.tar.gz", root / "usr/share/phigate/policy.tar.gz")
    file = root / "phigate.toml"
    file.write_text(files.placed(CONFIG, root))
    return configuration.load(file)


def test_the_configuration_loads_and_points_at_what_the_pod_has(tmp_path):
    loaded = load(tmp_path)
    mounted = [
        each["mountPath"] for each in files.template(gateway("ingress"))["spec"]["containers"][0]["volumeMounts"]
    ]
    paths = re.findall(r'["=](/[^"&?]+)["&]', CONFIG)

    assert loaded.gateway.host == "0.0.0.0"
    assert loaded.gateway.port == 8080
    (metrics,) = files.called(files.overlay("production"), "Service", "phigate-metrics")["spec"]["ports"]
    assert loaded.telemetry.metrics == ("0.0.0.0", metrics["port"])
    assert len(paths) == 4
    for path in paths:
        assert path == "/usr/share/phigate/policy.tar.gz" or any(path.startswith(f"{each}/") for each in mounted), path


def test_the_configuration_upstreams_and_policies_name_the_same_places():
    objects = files.overlay("demo")
    read = tomllib.loads(CONFIG)
    for service, address in (
        (("clinic", "clinic"), read["upstream"][0]["url"]),
        (("postgresql", "databases"), read["evidence"]["store"]),
    ):
        name, namespace = service
        assert f"{name}.{namespace}.svc.cluster.local" in address
        assert files.called(objects, "Service", name)["metadata"]["namespace"] == namespace


def test_keys_from_a_secret_end_where_only_the_gateway_can_read_them(tmp_path):
    """What the init container runs, on files as a Secret is mounted: links to files that are readable by a group."""
    made = tmp_path / "made"
    keys.generate(made, origin="phigate.example.com/phigate")
    secret, target = tmp_path / "run/secrets/keys", tmp_path / "run/keys"
    target.mkdir(parents=True)
    (secret / "..2026").mkdir(parents=True)
    (secret / "..data").symlink_to("..2026")
    for file in made.iterdir():
        shutil.copy(file, secret / "..2026")
        (secret / "..2026" / file.name).chmod(0o440)
        (secret / file.name).symlink_to(f"..data/{file.name}")
    target.chmod(0o2777)
    for workload in (gateway("ingress"), files.called(files.overlay("ingress"), "Job", "phigate-migrate")):
        shutil.rmtree(target / "phigate", ignore_errors=True)
        (init,) = files.template(workload)["spec"]["initContainers"]
        (script,) = init["args"]
        command = [*init["command"], script.replace("/run/", f"{tmp_path}/run/")]
        subprocess.run(command, check=True)

        assert keys.load(target / "phigate").origin == "phigate.example.com/phigate"
        assert stat.S_IMODE((target / "phigate").stat().st_mode) & 0o777 == 0o700


def test_a_policy_of_ones_own_is_a_configmap_that_the_gateway_reads(tmp_path):
    tree = tmp_path / "kubernetes"
    shutil.copytree(files.KUBERNETES, tree)
    shutil.copy(files.ROOT / "gateway/pdp/library.tar.gz", tree / "components/policy/policy.tar.gz")
    with (tree / "overlays/ingress/kustomization.yaml").open("a") as file:
        file.write("  - ../../components/policy\n")

    objects = files.rendered(tree / "overlays/ingress")

    (policy,) = (each for each in files.of_kind(objects, "ConfigMap") if "phigate-policy-" in each["metadata"]["name"])
    assert list(policy["binaryData"]) == ["policy.tar.gz"]
    pod = files.template(files.called(objects, "Deployment", "phigate"))["spec"]
    assert {"name": "policy", "configMap": {"name": policy["metadata"]["name"]}} in pod["volumes"]
    assert {"name": "policy", "mountPath": "/usr/share/phigate", "readOnly": True} in pod["containers"][0][
        "volumeMounts"
    ]


def test_another_configuration_is_another_configmap_and_so_a_rollout(tmp_path):
    tree = tmp_path / "kubernetes"
    shutil.copytree(files.KUBERNETES, tree)
    with (tree / "base/phigate.toml").open("a") as file:
        file.write("# another one\n")

    names = [
        {volume["configMap"]["name"] for volume in files.template(each)["spec"]["volumes"] if "configMap" in volume}
        for each in (
            gateway("ingress"),
            files.called(files.rendered(tree / "overlays/ingress"), "Deployment", "phigate"),
        )
    ]

    assert names[0].isdisjoint(names[1])
