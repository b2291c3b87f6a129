"""What is applied to a cluster: rendered as `kubectl` renders it, and checked against the API's own models, the code and each other."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import tomllib
from collections.abc import Iterator
from copy import deepcopy
from fnmatch import fnmatch
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from gnnrl.agents.learning import CHECKPOINT
from gnnrl.cli.main import build_parser
from gnnrl.cluster import paths
from gnnrl.cluster.guardrails.names import GUARDRAILS
from gnnrl.config.live import LiveConfig
from gnnrl.config.loader import load_live_config, parse_live_config
from gnnrl.live.keda.metric import metric_value
from gnnrl.live.metrics_server import LiveMetrics
from gnnrl.live.permissions import wanted_permissions
from gnnrl.training.run_folder import BEST
from tests.deploy import chart, kube_objects
from tests.deploy.manifests import CHART, DEPLOY, ROOT, Manifest, container, kustomized, overlay, released, values
from tests.deploy.values_schema import schema_of

TABLE = {
    ("apps", "deployments/scale"): {"get", "patch"},
    ("apps", "deployments"): {"list"},
    ("", "pods"): {"list"},
    ("metrics.k8s.io", "pods"): {"list"},
    ("autoscaling", "horizontalpodautoscalers"): {"list"},
    ("keda.sh", "scaledobjects"): {"list"},
    ("policy", "poddisruptionbudgets"): {"list"},
    ("", "resourcequotas"): {"list"},
    ("", "namespaces"): {"get"},
    ("coordination.k8s.io", "leases"): {"get", "create", "update"},
    ("", "events"): {"create", "patch"},
}
"""All that is granted, and nothing else."""


@pytest.mark.parametrize("name", ["dry-run", "live", "keda", "keda-tls"])
def test_overlays_render_to_what_the_api_takes(name: str) -> None:
    objects = overlay(name)
    assert set(objects) == {
        "ServiceAccount", "Role", "RoleBinding", "ConfigMap", "Service", "Deployment", "PodDisruptionBudget",
    }  # fmt: skip
    assert [fault for manifest in objects.values() for fault in kube_objects.faults(manifest)] == []
    assert {manifest["metadata"]["namespace"] for manifest in objects.values()} == {"onlineboutique"}


def test_the_check_sees_what_is_wrong() -> None:
    manifest = overlay("live")["Deployment"]
    pod = manifest["spec"]["template"]["spec"]
    pod["containers"][0]["readinesProbe"] = {}
    pod["terminationGracePeriodSeconds"] = "30"
    pod["securityContext"]["runAsNonRoot"] = 1
    pod["containers"][0]["args"].append(9464)
    del manifest["spec"]["selector"]
    found = "\n".join(kube_objects.faults(manifest))
    for part in (
        "readinesProbe: unknown",
        "'30' is not a int",
        "1 is not a bool",
        "9464 is not a str",
        "selector: missing",
    ):
        assert part in found
    assert kube_objects.faults({"apiVersion": "apps/v1beta1", "kind": "Deployment"})


def test_dry_run_is_live_and_one_flag() -> None:
    dry, live = kustomized("overlays/dry-run").splitlines(), kustomized("overlays/live").splitlines()
    flag = [i for i, line in enumerate(dry) if line.strip() == "- --dry-run"]
    assert len(flag) == 1
    assert dry[: flag[0]] + dry[flag[0] + 1 :] == live
    assert container(overlay("dry-run"))["args"][-1] == "--dry-run"


def granted(role: Manifest) -> dict[tuple[str, str], set[str]]:
    found: dict[tuple[str, str], set[str]] = {}
    for rule in role["rules"]:
        assert set(rule) <= {"apiGroups", "resources", "verbs", "resourceNames"}
        for group in rule["apiGroups"]:
            for resource in rule["resources"]:
                found.setdefault((group, resource), set()).update(rule["verbs"])
    return found


def test_the_role_grants_the_table_and_nothing_else() -> None:
    role = overlay("live")["Role"]
    assert granted(role) == TABLE
    named = [rule for rule in role["rules"] if "resourceNames" in rule]
    assert [(rule["resources"], rule["resourceNames"], set(rule["verbs"])) for rule in named] == [
        (["leases"], ["gnnrl"], {"get", "update"})
    ]
    unnamed = [rule for rule in role["rules"] if rule["resources"] == ["leases"] and "resourceNames" not in rule]
    assert [rule["verbs"] for rule in unnamed] == [["create"]]
    binding = overlay("live")["RoleBinding"]
    assert binding["roleRef"] == {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "gnnrl"}
    assert binding["subjects"] == [{"kind": "ServiceAccount", "name": "gnnrl", "namespace": "onlineboutique"}]


@pytest.mark.parametrize(("name", "mode", "leads"), [("live", "live", True), ("keda", "shadow", False)])
def test_what_is_granted_is_what_the_pre_flight_asks_for(name: str, mode: Any, leads: bool) -> None:
    """Neither more nor less, each with the name that it is granted for."""
    granted_ones = {
        (verb, group, *(resource + "/").split("/")[:2], one)
        for rule in overlay(name)["Role"]["rules"]
        for verb in rule["verbs"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for one in rule.get("resourceNames", [""])
    }
    asked = {
        # A namespace has its own name in whatever Role stands in it.
        (one.verb, one.group, one.resource, one.subresource, "" if one.resource == "namespaces" else one.name)
        for one in wanted_permissions(mode, "onlineboutique", leader_elect=leads)
    }
    assert granted_ones == asked


def test_everything_that_is_read_or_written_is_granted() -> None:
    """Each path of the client, put into the words of RBAC by the code that explains a refusal."""
    space, name = "onlineboutique", "gnnrl"
    asked = [
        paths.access(method, path)
        for method, path in (
            ("GET", paths.namespace_path(space)),
            ("GET", paths.deployments_path(space)),
            ("GET", paths.scale_path(space, name)),
            ("PATCH", paths.scale_path(space, name)),
            ("GET", paths.pods_path(space)),
            ("GET", paths.pod_metrics_path(space)),
            ("GET", paths.pod_autoscalers_path(space)),
            ("GET", paths.scaled_objects_path(space)),
            ("GET", paths.budgets_path(space)),
            ("GET", paths.quotas_path(space)),
            ("POST", paths.events_path(space)),
            ("PATCH", paths.events_path(space) + "/one"),
            ("POST", paths.leases_path(space)),
            ("GET", paths.lease_path(space, name)),
            ("PUT", paths.lease_path(space, name)),
        )
    ]
    assert {access.namespace for access in asked} == {space}, "a Role reaches no further"
    for access in asked:
        allowed = {
            verb
            for (group, resource), verbs in TABLE.items()
            if access.resource in (resource, f"{resource}.{group}")
            for verb in verbs
        }
        assert access.verb in allowed, access


def test_the_pod_has_no_more_rights_than_it_needs() -> None:
    pod = overlay("live")["Deployment"]["spec"]["template"]["spec"]
    (only,) = pod["containers"]
    assert pod["securityContext"]["runAsNonRoot"] is True and pod["securityContext"]["runAsUser"] == 65532
    assert only["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert {"hostNetwork", "hostPID", "hostIPC"}.isdisjoint(pod)
    assert all("emptyDir" in volume or "configMap" in volume for volume in pod["volumes"])
    writable = [mount["mountPath"] for mount in only["volumeMounts"] if not mount.get("readOnly")]
    assert writable == ["/tmp"]
    environment = dict(re.findall(r"(\w+)=(/\S*)", (DEPLOY / "Dockerfile").read_text()))
    for name in ("HOME", "NUMBA_CACHE_DIR", "MPLCONFIGDIR"):
        assert environment[name].startswith("/tmp"), name
    assert set(only["resources"]) == {"requests", "limits"}


def test_probes_and_services_meet_a_port() -> None:
    for name in ("live", "keda"):
        objects = overlay(name)
        ports = {port["name"]: port["containerPort"] for port in container(objects)["ports"]}
        for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
            assert container(objects)[probe]["httpGet"]["port"] in ports
        for port in objects["Service"]["spec"]["ports"]:
            assert ports[port["targetPort"]] == port["port"]
        labels = objects["Deployment"]["spec"]["template"]["metadata"]["labels"].items()
        for selector in (
            objects["Service"]["spec"]["selector"],
            objects["Deployment"]["spec"]["selector"]["matchLabels"],
            objects["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"],
        ):
            assert selector and selector.items() <= labels


def test_it_leaves_itself_alone() -> None:
    for deployment in (overlay("live")["Deployment"], released(values())["Deployment"]):
        assert deployment["metadata"]["annotations"]["gnnrl.io/pause"] == "true"
        assert deployment["spec"]["template"]["metadata"]["labels"]["sidecar.istio.io/inject"] == "false"


def test_beside_keda_it_may_not_scale() -> None:
    objects = overlay("keda")
    writes = {("apps", "deployments/scale"), ("coordination.k8s.io", "leases"), ("", "events")}
    assert granted(objects["Role"]) == {key: verbs for key, verbs in TABLE.items() if key not in writes}
    assert objects["Deployment"]["spec"]["replicas"] == 1
    args = container(objects)["args"]
    assert args[:3] == ["serve-keda", "--keda-port=6000", "--keda-address=::"] and "--leader-elect" not in args
    assert args[3:] == container(overlay("live"))["args"][2:]


def test_over_tls_it_differs_from_plain_text_by_its_certificates() -> None:
    plain, secure = container(overlay("keda")), container(overlay("keda-tls"))
    added = [one for one in secure["args"] if one not in plain["args"]]
    assert [one.partition("=")[0] for one in added] == ["--keda-tls-cert", "--keda-tls-key", "--keda-client-ca"]
    mount = next(one for one in secure["volumeMounts"] if one not in plain["volumeMounts"])
    assert all(one.partition("=")[2].startswith(f"{mount['mountPath']}/") for one in added) and mount["readOnly"]
    assert overlay("keda-tls")["Role"] == overlay("keda")["Role"]
    trigger = yaml.safe_load((DEPLOY / "keda" / "triggerauthentication.yaml").read_text())
    assert (trigger["apiVersion"], trigger["kind"]) == ("keda.sh/v1alpha1", "TriggerAuthentication")
    given = {one["parameter"] for one in trigger["spec"]["secretTargetRef"]}
    assert given == {"caCert", "tlsClientCert", "tlsClientKey"}


def test_the_chart_beside_keda_is_the_overlay_beside_keda() -> None:
    keda = {"enabled": True, "port": 6000, "tlsSecret": "gnnrl-keda-tls", "clientCertificates": True}
    for name, settings in (("keda", keda | {"tlsSecret": "", "clientCertificates": False}), ("keda-tls", keda)):
        ours, theirs = released(values(keda=settings)), overlay(name)
        assert sorted(container(ours)["args"][1:6]) == sorted(container(theirs)["args"][1:6])
        assert container(ours)["ports"] == container(theirs)["ports"]
        assert granted(ours["Role"]) == granted(theirs["Role"])
        assert ours["Service"]["spec"]["ports"] == theirs["Service"]["spec"]["ports"]
        for key in ("replicas", "strategy"):
            assert ours["Deployment"]["spec"][key] == theirs["Deployment"]["spec"][key]
        assert [fault for manifest in ours.values() for fault in kube_objects.faults(manifest)] == []
    assert "--dry-run" not in container(released(values(keda=keda)))["args"]


def test_the_configuration_is_the_documented_one() -> None:
    text = overlay("live")["ConfigMap"]["data"]["live.yaml"]
    assert text == (ROOT / "configs" / "live.yaml").read_text(), "cp configs/live.yaml deploy/base/live.yaml"
    mounted = container(overlay("live"))
    assert "/etc/gnnrl/live.yaml" in mounted["args"]
    assert load_live_config(DEPLOY / "base" / "live.yaml") == LiveConfig()


def options(command: str) -> set[str]:
    subparsers = build_parser()._subparsers
    assert subparsers is not None
    commands = subparsers._group_actions[0].choices
    if command not in commands:
        pytest.skip(f"no gnnrl {command} yet")
    return {option for action in commands[command]._actions for option in action.option_strings}


def test_every_flag_exists() -> None:
    args = container(overlay("dry-run"))["args"] + container(released(values(mode="shadow", run="/models/run")))["args"]
    flags = {argument for argument in args if argument.startswith("--")}
    assert {"--run", "--policy", "--dry-run", "--shadow", "--leader-elect"} <= flags
    assert flags <= options("live")
    beside_keda = {argument.partition("=")[0] for argument in container(overlay("keda-tls"))["args"]}
    assert {flag for flag in beside_keda if flag.startswith("--")} <= options("serve-keda")


def who_decides(args: list[str]) -> list[str]:
    (place,) = (i for i, argument in enumerate(args) if argument in ("--run", "--policy"))
    return args[place : place + 2]


def test_the_pretrained_policy_decides_unless_something_else_is_named() -> None:
    assert who_decides(container(overlay("live"))["args"]) == ["--policy", "generalist"]
    assert who_decides(container(overlay("keda"))["args"]) == ["--policy", "generalist"]
    for changed, decides in (
        ({}, ["--policy", "generalist"]),
        ({"policy": "hpa_80"}, ["--policy", "hpa_80"]),
        ({"run": "/models/run"}, ["--run", "/models/run"]),
        ({"run": "/models/run", "policy": "hpa_80"}, ["--run", "/models/run"]),
    ):
        assert who_decides(container(released(values(**changed)))["args"]) == decides
    schema = json.loads((CHART / "values.schema.json").read_text())
    assert list(mismatches(values(run="/models/run"), schema)) == []
    without = values()
    without.pop("policy")
    assert list(mismatches(without, schema)) == [".policy: missing"]


@pytest.mark.parametrize("name", ["live", "keda"])
def test_a_run_of_ones_own_is_one_component_away(name: str, tmp_path: Path) -> None:
    shutil.copytree(DEPLOY, tmp_path / "deploy")
    path = tmp_path / "deploy" / "overlays" / "live" / "kustomization.yaml"
    text = path.read_text()
    path.write_text(text.replace("# components:\n#   - ", "components:\n  - "))
    assert text != path.read_text(), "as the comment in the overlay says"
    ours, theirs = kustomized(str(tmp_path / "deploy" / "overlays" / name)), kustomized(f"overlays/{name}")
    assert ours != theirs
    assert ours.replace("- --run\n        - /models/run\n", "- --policy\n        - generalist\n") == theirs


def test_the_chart_renders_what_the_overlay_does() -> None:
    """Apart from Helm's own labels, the name of the ConfigMap and how a change of it rolls the pods."""

    def plain(objects: dict[str, Manifest]) -> dict[str, Manifest]:
        found = deepcopy(objects)
        config = found["ConfigMap"]["data"]
        config["live.yaml"] = repr(parse_live_config(config["live.yaml"], source="live.yaml"))
        found["ConfigMap"]["metadata"]["name"] = "gnnrl-config"
        pod = found["Deployment"]["spec"]["template"]
        pod["metadata"].pop("annotations", None)
        pod["spec"]["volumes"][0]["configMap"]["name"] = "gnnrl-config"
        pod["spec"]["containers"][0].pop("imagePullPolicy", None)
        args = pod["spec"]["containers"][0]["args"]
        args[args.index("--namespace") + 1] = "onlineboutique"
        return {kind: without_helm(manifest) for kind, manifest in found.items()}

    def without_helm(value: Any) -> Any:
        if isinstance(value, list):
            return [without_helm(item) for item in value]
        if not isinstance(value, dict):
            return value
        helms = ("app.kubernetes.io/instance", "app.kubernetes.io/version", "app.kubernetes.io/managed-by")
        return {key: without_helm(item) for key, item in value.items() if key not in helms}

    assert plain(released(values(mode="live"))) == plain(overlay("live"))
    assert plain(released(values())) == plain(overlay("dry-run"))


@pytest.mark.parametrize(
    "changed",
    [
        {},
        {"mode": "shadow", "extraArgs": ["--journal", "/tmp/decisions.jsonl"], "targetNamespace": "shop"},
        {
            "kiali": {"url": "", "tokenSecret": "kiali-token"},
            "prometheusUrl": "http://prometheus:9090",
            "policy": "hpa_80",
        },
    ],
)
def test_the_chart_renders_to_what_the_api_takes(changed: Manifest) -> None:
    objects = released(values(**changed), namespace="gnnrl-system")
    assert [fault for manifest in objects.values() for fault in kube_objects.faults(manifest)] == []
    target = changed.get("targetNamespace") or "gnnrl-system"
    spaces = {kind: manifest["metadata"]["namespace"] for kind, manifest in objects.items()}
    assert spaces.pop("Role") == spaces.pop("RoleBinding") == target
    assert set(spaces.values()) == {"gnnrl-system"}
    assert objects["RoleBinding"]["subjects"][0]["namespace"] == "gnnrl-system"
    args = container(objects)["args"]
    assert args[args.index("--namespace") + 1] == target
    assert ("--run" in args) != ("--policy" in args)
    for url, flag in ((changed.get("prometheusUrl"), "--prometheus-url"), ("kiali" not in changed, "--kiali-url")):
        assert bool(url) == (flag in args)
    mounts = {mount["name"] for mount in container(objects)["volumeMounts"]}
    assert mounts == {volume["name"] for volume in objects["Deployment"]["spec"]["template"]["spec"]["volumes"]}
    assert ("kiali-token" in mounts) == ("--kiali-token-file" in args)


def test_the_notes_say_how_to_stop_it() -> None:
    said = chart.notes(CHART, values(targetNamespace="shop"), name="gnnrl", namespace="ops")
    assert "kubectl annotate namespace shop gnnrl.io/pause=true" in said and "--set mode=live" in said
    assert "get lease" not in said and "get events" not in said, "a dry run takes no Lease and posts no Events"
    live = chart.notes(CHART, values(mode="live"), name="gnnrl", namespace="ops")
    assert "mode=live" not in live and "get lease gnnrl" in live and "get events" in live


def test_helm_agrees_where_there_is_one() -> None:
    if shutil.which("helm") is None:
        pytest.skip("no helm here")
    command = ["helm", "template", "gnnrl", str(CHART), "--namespace", "onlineboutique"]
    said = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout
    objects = {found["kind"]: found for found in yaml.safe_load_all(said) if found}
    ours = released(values())
    for manifests in (objects, ours):
        manifests["Deployment"]["spec"]["template"]["metadata"].pop("annotations")
        text = manifests["ConfigMap"]["data"]["live.yaml"]
        manifests["ConfigMap"]["data"]["live.yaml"] = repr(parse_live_config(text, source="live.yaml"))
    assert objects == ours


def mismatches(value: Any, schema: Manifest, path: str = "") -> Iterator[str]:
    """What of the schema language is used here."""
    kinds = {"object": dict, "array": list, "string": str, "integer": int, "number": (int, float), "boolean": bool}
    if "enum" in schema and value not in schema["enum"]:
        yield f"{path}: {value!r} is none of {schema['enum']}"
    types = schema.get("type", [])
    allowed = [kinds[name] for name in ([types] if isinstance(types, str) else types)]
    if allowed and not any(isinstance(value, kind) for kind in allowed):
        yield f"{path}: {value!r} is not {types}"
    elif isinstance(value, dict):
        known = schema.get("properties", {})
        yield from (f"{path}.{key}: missing" for key in schema.get("required", []) if key not in value)
        for key, item in value.items():
            other = schema.get("additionalProperties", {})
            if key not in known and other is False:
                yield f"{path}.{key}: unknown"
            else:
                yield from mismatches(item, known.get(key, other), f"{path}.{key}")
    elif "minimum" in schema and value < schema["minimum"]:
        yield f"{path}: {value} is below {schema['minimum']}"


def test_the_values_meet_their_schema_and_it_is_that_of_the_code() -> None:
    schema = json.loads((CHART / "values.schema.json").read_text())
    assert list(mismatches(values(), schema)) == []
    assert schema["properties"]["config"] == schema_of(LiveConfig), "run: python -m tests.deploy.values_schema"
    assert set(values()) <= set(schema["properties"])
    wrong = values(mode="wet-run", replicas=0, imagee={})
    wrong["config"]["guardrails"]["max_replicas"] = "20"
    assert len(list(mismatches(wrong, schema))) == 4


def referenced() -> set[str]:
    text = "".join(file.read_text() for file in (CHART / "templates").iterdir())
    return set(re.findall(r"\.Values\.([\w.]+)", text))


def test_every_value_is_used_and_every_used_value_is_there() -> None:
    def leaves(tree: Any, path: str) -> Iterator[str]:
        if path in referenced() or not isinstance(tree, dict):
            yield path
        else:
            for key, item in tree.items():
                yield from leaves(item, f"{path}.{key}" if path else key)

    assert set(leaves(values(), "")) == referenced()


@cache
def metrics() -> frozenset[str]:
    """Names as Prometheus sees them, from the exposition itself."""
    text = LiveMetrics("onlineboutique").exposition().decode()
    names = set()
    for name, kind in re.findall(r"^# TYPE (\w+) (\w+)$", text, re.MULTILINE):
        names.add(name)
        if kind == "histogram":
            names |= {f"{name}_bucket", f"{name}_count", f"{name}_sum"}
    return frozenset(names)


def expressions() -> Iterator[str]:
    dashboard = json.loads((DEPLOY / "monitoring" / "dashboard.json").read_text())
    for panel in dashboard["panels"]:
        for target in panel["targets"]:
            yield target["expr"]
    for variable in dashboard["templating"]["list"]:
        if variable["type"] == "query":
            yield variable["definition"]
    for group in yaml.safe_load((DEPLOY / "monitoring" / "alerts.yaml").read_text())["spec"]["groups"]:
        for rule in group["rules"]:
            yield rule["expr"]


def test_dashboard_and_alerts_ask_for_metrics_that_exist() -> None:
    asked = {name for expression in expressions() for name in re.findall(r"gnnrl_\w+", expression)}
    assert asked <= metrics()
    assert len(asked) >= 9
    for expression in expressions():
        for opening, closing in ("()", "{}", "[]"):
            assert expression.count(opening) == expression.count(closing), expression


def test_two_processes_of_a_dry_run_are_not_two_leaders() -> None:
    """They take no Lease, so that both say that they lead."""
    assert container(overlay("dry-run"))["args"][-1] == "--dry-run"
    assert overlay("dry-run")["Deployment"]["spec"]["replicas"] == 2
    rules = yaml.safe_load((DEPLOY / "monitoring" / "alerts.yaml").read_text())["spec"]["groups"][0]["rules"]
    asked = {rule["alert"]: rule["expr"] for rule in rules}
    assert asked["GnnrlSeveralLeaders"] == 'sum by (namespace) (gnnrl_leader{mode="live"}) > 1'
    assert "mode" not in asked["GnnrlNoLeader"]


def test_the_dashboard_fits_its_grid() -> None:
    dashboard = json.loads((DEPLOY / "monitoring" / "dashboard.json").read_text())
    cells = [
        (x, y)
        for panel in dashboard["panels"]
        for x in range(panel["gridPos"]["x"], panel["gridPos"]["x"] + panel["gridPos"]["w"])
        for y in range(panel["gridPos"]["y"], panel["gridPos"]["y"] + panel["gridPos"]["h"])
    ]
    assert len(set(cells)) == len(cells) and max(x for x, _ in cells) < 24
    assert len({panel["id"] for panel in dashboard["panels"]}) == len(dashboard["panels"])


def test_monitoring_renders() -> None:
    objects = {found["kind"]: found for found in yaml.safe_load_all(kustomized("monitoring"))}
    assert set(objects) == {"ServiceMonitor", "PrometheusRule", "ConfigMap"}
    assert kube_objects.faults(objects["ConfigMap"]) == []
    monitored = objects["ServiceMonitor"]["spec"]
    service = overlay("live")["Service"]
    assert monitored["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
    assert monitored["endpoints"][0]["port"] in {port["name"] for port in service["spec"]["ports"]}
    for rule in objects["PrometheusRule"]["spec"]["groups"][0]["rules"]:
        assert (
            {"alert", "expr", "labels", "annotations"} <= set(rule) <= {"alert", "expr", "for", "labels", "annotations"}
        )


def test_the_scaled_object_asks_for_what_the_scaler_gives() -> None:
    scaled = yaml.safe_load((DEPLOY / "keda" / "scaledobject.yaml").read_text())
    assert (scaled["apiVersion"], scaled["kind"]) == ("keda.sh/v1alpha1", "ScaledObject")
    spec = scaled["spec"]
    (trigger,) = spec["triggers"]
    assert trigger["type"] == "external" and trigger["metricType"] == "AverageValue"
    assert trigger["metadata"]["deployment"] == spec["scaleTargetRef"]["name"]
    service = overlay("keda")["Service"]
    ports = {port["name"]: port["port"] for port in service["spec"]["ports"]}
    where = f"{service['metadata']['name']}.{service['metadata']['namespace']}:{ports['keda']}"
    assert trigger["metadata"]["scalerAddress"] == where
    assert spec["minReplicaCount"] >= 1, "at 0 KEDA may switch the service off"
    assert spec["fallback"]["behavior"] == "currentReplicasIfHigher", "a fallback is a floor"
    assert spec["maxReplicaCount"] == LiveConfig().guardrails.max_replicas
    behavior = spec["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]
    assert kube_objects.of_model(behavior, "V2HorizontalPodAutoscalerBehavior", "behavior") == []
    assert behavior["scaleUp"]["tolerance"] == behavior["scaleDown"]["tolerance"] == "0"


def test_the_image_has_what_it_needs_and_no_secrets() -> None:
    dockerfile = (DEPLOY / "Dockerfile").read_text()
    ignored = (ROOT / ".dockerignore").read_text().split("\n")
    copied = {
        word for line in re.findall(r"^COPY (?!--from)(.+) \S+$", dockerfile, re.MULTILINE) for word in line.split()
    }
    assert ignored[1] == "*" and {line[1:] for line in ignored if line.startswith("!")} == copied
    for name in copied:
        assert (ROOT / name).exists(), name
    assert "USER 65532:65532" in dockerfile and 'ENTRYPOINT ["gnnrl"]' in dockerfile
    user = dockerfile.index("USER 65532")
    assert "RUN" not in dockerfile[user:], "nothing is built as the user of the run"
    run = re.findall(r"^COPY (.+) /models/run/$", (DEPLOY / "Dockerfile.run").read_text(), re.MULTILINE)
    assert run == ["config.yaml revision.json *.pt"]
    assert fnmatch(CHECKPOINT, "*.pt") and fnmatch(BEST, "*.pt")
    package_data = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]["*"]
    for name in ("generalist.safetensors", "generalist.md", "fine_tuning.yaml"):
        assert any(fnmatch(name, pattern) for pattern in package_data), name


def table(heading: str) -> dict[str, list[str]]:
    """Rows of the first table under a heading of docs/live.md, by their first cell."""
    text = (ROOT / "docs" / "live.md").read_text()
    rows = text[text.index(heading) :].split("\n\n|")[1].split("\n\n")[0].splitlines()[2:]
    return {
        cells[0].strip(): [cell.strip() for cell in cells[1:]] for cells in (row.strip("|").split("|") for row in rows)
    }


def test_the_documentation_has_every_right_and_every_guardrail() -> None:
    rights = {}
    for resource, (verbs, *_) in table("## What it may do").items():
        name, group = re.fullmatch(r"`([\w/]+)`(?: \(([\w.]+)\))?", resource).groups()  # type: ignore[union-attr]
        rights[group or "", name] = set(verbs.split(", "))
    assert rights == TABLE
    named = {name for row in table("### Guardrails") for name in re.findall(r"`(\w+)`", row)}
    assert named == set(GUARDRAILS)
    shown = {re.match(r"`(\w+)", row)[1] for row in table("## Metrics and alerts")}  # type: ignore[index]
    assert shown <= metrics()


def test_the_arithmetic_of_the_documentation_is_right() -> None:
    for step, (value, ratio, set_to, exact) in table("Set HPA's tolerance to 0").items():
        replicas, wish = map(int, step.split(" -> "))
        thousandths = int(metric_value(wish, replicas) * 1000)
        assert float(value) == thousandths / 1000
        assert float(ratio) == pytest.approx(thousandths / 1000 / replicas, abs=0.005)
        moves = not 0.9 <= thousandths / (1000 * replicas) <= 1.1
        assert int(set_to.strip("*")) == (wish if moves else replicas)
        assert ("**" in set_to) != moves
        assert int(exact) == wish == -(-thousandths // 1000)
