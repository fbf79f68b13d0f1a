"""The Helm chart: renders the examples as Helm does, and checks what comes out against Kubernetes' own schemas."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from buyer_service.settings import BuyerSettings
from explorer.settings import ExplorerSettings
from gateway.settings import GatewaySettings
from item_service.settings import ItemSettings
from recorder.settings import RecorderSettings
from retrieval_service.settings import RetrievalSettings
from trainer.commands.parser import build_parser
from twotower.serving.settings import PREFIX, SHARED

helm = pytest.importorskip(
    "helm_python", reason="no wheel of helm-python-sdk for this processor: the chart is not rendered"
)

ROOT = Path(__file__).resolve().parents[2]
CHART = ROOT / "deploy" / "helm" / "twotower"
EXAMPLES = sorted((ROOT / "deploy" / "helm" / "examples").glob("*.yaml"))
SETTINGS = {
    "item": ItemSettings,
    "buyer": BuyerSettings,
    "retrieval": RetrievalSettings,
    "gateway": GatewaySettings,
    "recorder": RecorderSettings,
    "explorer": ExplorerSettings,
}
OLDEST, NEWEST = "1.30", "1.37"

Object = dict[str, Any]


def values_of(path: Path) -> Object:
    values: Object = yaml.safe_load(path.read_text(encoding="utf-8"))
    return values


def render(values: Object) -> list[Object]:
    with helm.Chart.load(str(CHART)) as chart:
        files = chart.render(values, name="shop", namespace="prod")
    texts = [text for name, text in sorted(files.items()) if name.endswith(".yaml")]
    return [one for text in texts for one in yaml.safe_load_all(text) if one]


@pytest.fixture(scope="module", params=EXAMPLES, ids=lambda path: path.stem)
def objects(request: pytest.FixtureRequest) -> list[Object]:
    return render(values_of(request.param))


@pytest.fixture(scope="module")
def stored() -> list[Object]:
    return render(values_of(EXAMPLES[0].with_name("storage.yaml")))


def pods(objects: list[Object]) -> Iterator[tuple[str, Object]]:
    """Name and specification of every pod."""
    for one in objects:
        spec = one.get("spec", {})
        spec = spec.get("jobTemplate", one).get("spec", {})
        if "template" in spec:
            yield one["metadata"]["name"], spec["template"]["spec"]


def containers(objects: list[Object]) -> Iterator[tuple[str, Object]]:
    for name, pod in pods(objects):
        for container in [*pod.get("initContainers", []), *pod["containers"]]:
            yield f"{name}/{container['name']}", container


def named(objects: list[Object], kind: str, name: str) -> Object:
    return next(one for one in objects if (one["kind"], one["metadata"]["name"]) == (kind, f"shop-twotower-{name}"))


def environ(container: Object) -> dict[str, str]:
    return {one["name"]: one.get("value", "") for one in container["env"]}


def test_helm_finds_no_fault_in_the_chart() -> None:
    for path in EXAMPLES:
        found = helm.lint(str(CHART), values_of(path))
        # severity 1: an icon is recommended
        assert [one for one in found["messages"] if one["severity"] > 1] == [], path
        assert found["errors"] == []


def test_every_object_follows_the_schema_of_kubernetes(objects: list[Object]) -> None:
    for one in objects:
        kubernetes_validate.validate(one, NEWEST, strict=True)


def test_every_object_follows_the_schema_of_the_oldest_kubernetes_that_the_chart_allows(stored: list[Object]) -> None:
    for one in stored:
        kubernetes_validate.validate(one, OLDEST, strict=True)


def test_the_oldest_kubernetes_is_the_one_that_the_chart_names() -> None:
    assert values_of(CHART / "Chart.yaml")["kubeVersion"] == f">={OLDEST}.0-0"


def test_no_two_objects_have_one_name(objects: list[Object]) -> None:
    names = [(one["kind"], one["metadata"]["name"]) for one in objects]
    assert len(names) == len(set(names))


def test_every_container_is_confined(objects: list[Object]) -> None:
    for name, pod in pods(objects):
        security = pod["securityContext"]
        assert security["runAsNonRoot"] and security["runAsUser"] > 0, name
        assert security["seccompProfile"] == {"type": "RuntimeDefault"}, name
        assert pod["automountServiceAccountToken"] is False, name
    for name, container in containers(objects):
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }, name
        assert set(container["resources"]["requests"]) == {"cpu", "memory"}, name
        assert "memory" in container["resources"]["limits"], name


def test_what_is_mounted_is_a_volume_and_every_volume_is_mounted(objects: list[Object]) -> None:
    for name, pod in pods(objects):
        mounted = {
            mount["name"]
            for container in [*pod.get("initContainers", []), *pod["containers"]]
            for mount in container["volumeMounts"]
        }
        claimed = {"data"} if name.endswith("-redis") else set()
        assert mounted == {volume["name"] for volume in pod["volumes"]} | claimed, name


def test_every_setting_is_one_of_its_process(objects: list[Object]) -> None:
    for name, container in containers(objects):
        component = {"loader": "gateway"}.get(container["name"], container["name"])
        ours = {one for one in environ(container) if one.startswith(PREFIX)} if "env" in container else set()
        if component in SETTINGS:
            fields = {f"{PREFIX}{component.upper()}_{field.upper()}" for field in SETTINGS[component].model_fields}
            assert ours <= fields | SHARED, name
        else:
            assert not ours, name


def test_a_port_is_the_one_that_its_image_exposes(objects: list[Object]) -> None:
    dockerfile = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    for stage in ("item", "buyer", "retrieval", "gateway"):
        exposed = re.search(rf"FROM online AS {stage}\n.*?EXPOSE ([\d ]+)", dockerfile, re.DOTALL)
        assert exposed is not None
        seen = [container for _, container in containers(objects) if container["name"] == stage]
        assert seen
        for container in seen:
            assert {int(port) for port in exposed[1].split()} <= {port["containerPort"] for port in container["ports"]}


def test_a_selector_finds_its_pods(objects: list[Object]) -> None:
    templates = [
        one["spec"]["template"]["metadata"]["labels"]
        for one in objects
        if one["kind"] in ("Deployment", "StatefulSet", "Job")
    ]
    for one in objects:
        if one["kind"] in ("Service", "PodDisruptionBudget"):
            selector = one["spec"]["selector"]
            wanted = selector.get("matchLabels", selector).items()
            assert any(wanted <= labels.items() for labels in templates), one["metadata"]["name"]


def test_a_trainer_gets_a_command_that_it_takes(objects: list[Object]) -> None:
    seen = [container for _, container in containers(objects) if container["name"] == "trainer"]
    assert seen
    for container in seen:
        if "command" in container:
            options = build_parser().parse_args(container["args"])
            assert options.events == ["/input/events/*.parquet", "log:/artifacts/private/log"]
            assert options.products == ["/input/products.csv"]
        else:
            # the image's own entry point fills in the rest
            assert (
                build_parser()
                .parse_args([*container["args"], "--events", "e", "--products", "p", "--artifacts", "a"])
                .command
                == "run"
            )


def test_a_service_downloads_a_version_before_it_starts_and_follows_the_storage(stored: list[Object]) -> None:
    for kind, name in (("Deployment", "item"), ("Deployment", "buyer"), ("StatefulSet", "retrieval")):
        pod = named(stored, kind, name)["spec"]["template"]["spec"]
        url = "s3://shop-models/production"
        assert [one["args"] for one in pod["initContainers"]] == [["pull", url]]
        assert [one["args"] for one in pod["containers"][1:]] == [["pull", url, "--follow", "5"]]
        assert environ(pod["containers"][0])["TWOTOWER_CACHE"] == ""
    loader = named(stored, "Deployment", "loader")["spec"]["template"]["spec"]
    assert loader["initContainers"][0]["args"] == ["pull", "s3://shop-models/production", "--private"]
    scheduler = named(stored, "Deployment", "scheduler")["spec"]["template"]["spec"]
    assert scheduler["containers"][1]["args"] == ["push", "s3://shop-models/production", "--follow", "2"]


def test_gateway_and_recorder_reach_kafka_and_nobody_else_does(stored: list[Object]) -> None:
    user = {"TWOTOWER_KAFKA_USERNAME": "username", "TWOTOWER_KAFKA_PASSWORD": "password"}
    wanted = {
        "TWOTOWER_KAFKA": "kafka-1.example:9093,kafka-2.example:9093",
        "TWOTOWER_KAFKA_TOPIC": "twotower-log",
        "TWOTOWER_KAFKA_SECURITY": "SASL_SSL",
        "TWOTOWER_KAFKA_SASL_MECHANISM": "SCRAM-SHA-512",
        "TWOTOWER_KAFKA_TLS": "/tls/kafka",
    }
    for name, container in containers(stored):
        ours = [one for one in container.get("env", []) if "KAFKA" in one["name"]]
        if container["name"] not in ("gateway", "recorder"):
            assert not ours, name
            continue
        assert {one["name"]: one["value"] for one in ours if "value" in one} == wanted
        assert {one["name"]: one["valueFrom"]["secretKeyRef"] for one in ours if "valueFrom" in one} == {
            variable: {"name": "kafka-user", "key": key} for variable, key in user.items()
        }
        assert {"name": "kafka-tls", "mountPath": "/tls/kafka", "readOnly": True} in container["volumeMounts"]
    policy = named(stored, "NetworkPolicy", "kafka-clients")["spec"]
    assert policy["egress"] == [{"ports": [{"port": 9093}]}]
    assert policy["podSelector"]["matchExpressions"][0]["values"] == ["gateway", "recorder"]


def test_each_shard_is_a_set_of_replicas_behind_an_address_of_its_own() -> None:
    objects = render(values_of(EXAMPLES[0].with_name("sharded.yaml")))
    addresses = []
    for number in range(3):
        name = f"retrieval-{number}"
        shard = named(objects, "StatefulSet", name)["spec"]
        values = environ(shard["template"]["spec"]["containers"][0])
        prefix = "TWOTOWER_RETRIEVAL_SHARD_"
        assert (values[f"{prefix}INDEX"], values[f"{prefix}COUNT"]) == (str(number), "3")
        service = named(objects, "Service", name)["spec"]
        assert service["selector"] == shard["selector"]["matchLabels"]
        assert service["selector"].items() <= shard["template"]["metadata"]["labels"].items()
        assert service["selector"]["twotower/shard"] == str(number)
        target = named(objects, "HorizontalPodAutoscaler", name)["spec"]["scaleTargetRef"]
        assert (target["kind"], target["name"]) == ("StatefulSet", f"shop-twotower-{name}")
        addresses.append(f"shop-twotower-{name}:50053")
    gateway = named(objects, "Deployment", "gateway")["spec"]["template"]["spec"]["containers"][0]
    address = environ(gateway)["TWOTOWER_GATEWAY_RETRIEVAL_ADDRESS"]
    assert address == ";".join(addresses)
    assert GatewaySettings(retrieval_address=address).shard_addresses == addresses
    # one budget for all shards: it never takes both replicas of one
    budget = named(objects, "PodDisruptionBudget", "retrieval")["spec"]
    assert budget["maxUnavailable"] == 1 and "twotower/shard" not in budget["selector"]["matchLabels"]


def test_the_arguments_of_the_storage_containers_are_taken(stored: list[Object]) -> None:
    from twotower.storage.__main__ import _parser

    seen = [one["args"] for _, one in containers(stored) if one["name"] in ("fetch", "follow", "upload")]
    # item, buyer, retrieval and loader: two each; the scheduler
    assert len(seen) == 9
    for arguments in seen:
        _parser().parse_args(arguments)


def test_what_names_buyers_is_mounted_by_those_alone_who_may_read_it(objects: list[Object]) -> None:
    mounting = {
        name.removeprefix("shop-twotower-").partition("-")[0]
        for name, pod in pods(objects)
        if any(volume["name"] == "private" for volume in pod["volumes"])
    }
    assert mounting <= {"gateway", "recorder", "loader", "trainer", "scheduler"}


def test_the_metric_of_the_autoscaler_is_one_of_the_services(stored: list[Object]) -> None:
    import prometheus_client

    import twotower.serving.workers  # noqa: F401

    scaler = named(stored, "HorizontalPodAutoscaler", "retrieval")
    (metric,) = scaler["spec"]["metrics"]
    known = {family.name for family in prometheus_client.REGISTRY.collect()}
    assert metric["pods"]["metric"]["name"] in known
    (default,) = named(stored, "HorizontalPodAutoscaler", "item")["spec"]["metrics"]
    assert default["resource"]["name"] == "cpu"


@pytest.mark.parametrize(
    ("wrong", "problem"),
    [
        ({"gatway": {}}, "gatway"),
        ({"gateway": {"keysSecret": "k", "replicas": 0}}, "replicas"),
        ({"gateway": {"keysSecret": ""}}, "gateway.keysSecret"),
        ({"artifacts": {"from": "storage"}}, "artifacts.storage.url"),
        ({"artifacts": {"storage": {"url": "s3://me:secret@bucket/x"}}}, "url"),
        ({"redis": {"enabled": False}}, "redis.urlSecret.name"),
        ({"kafka": {"servers": "kafka:9093", "security": "SASL_SSL"}}, "kafka.security has SASL: set kafka.secret"),
        ({"kafka": {"servers": "kafka"}}, "servers"),
        ({"explorer": {"enabled": True}}, "explorer.keySecret.name"),
        ({"trainer": {"events": ["e.csv"], "inputClaim": "files"}}, "both trainer.events and trainer.products"),
        ({"trainer": {"events": ["e.csv"], "products": ["p.csv"]}}, "trainer.inputClaim"),
        ({"trainer": {"cronJob": {"enabled": True}, "scheduler": {"enabled": True}}}, "both enabled"),
        ({"trainer": {"cronJob": {"enabled": True}}}, "train on files"),
        ({"gateway": {"keysSecret": "k", "env": {"PATH": "/"}}}, "PATH"),
    ],
)
def test_a_wrong_value_is_named(wrong: Object, problem: str) -> None:
    with pytest.raises(helm.HelmError, match=re.escape(problem)):
        render({"gateway": {"keysSecret": "keys"}} | wrong)
