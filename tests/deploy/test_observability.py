"""Rules, dashboard, Compose profile and the documentation of the metrics agree with what the processes expose."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from typing import Any

import pytest
import yaml

from tests.helpers.exposed_metrics import exposed, grouped_labels, selectors
from tests.helpers.processes import ROOT

FOLDER = ROOT / "deploy" / "observability"
PROMTOOL = shutil.which("promtool")
needs_promtool = pytest.mark.skipif(PROMTOOL is None, reason="promtool is not installed (Debian's package prometheus)")


def rules() -> list[dict[str, Any]]:
    files = [yaml.safe_load(path.read_text(encoding="utf-8")) for path in sorted((FOLDER / "rules").glob("*.yml"))]
    return [rule for one in files for group in one["groups"] for rule in group["rules"]]


def dashboard() -> dict[str, Any]:
    found: dict[str, Any] = json.loads((FOLDER / "grafana/dashboards/twotower.json").read_text(encoding="utf-8"))
    return found


RULES = {str(rule.get("record") or rule["alert"]): str(rule["expr"]) for rule in rules()}
RECORDED = {str(rule["record"]) for rule in rules() if "record" in rule}
PANELS = {
    f"{panel['title']} {target['refId']}": str(target["expr"])
    for panel in dashboard()["panels"]
    for target in panel.get("targets", ())
}


def test_selectors_are_read_out_of_expressions() -> None:
    expression = 'sum by (job, le) (rate(a_total{x=~"b|c", y="d"}[5m])) / on (job) group_left () e:f:g unless h == 1'
    assert list(selectors(expression)) == [("a_total", {"x", "y"}), ("e:f:g", set()), ("h", set())]
    assert grouped_labels(expression) == {"job", "le"}


@pytest.mark.parametrize("expression", [*RULES.values(), *PANELS.values()], ids=[*RULES, *PANELS])
def test_every_query_reads_metrics_and_labels_that_exist(expression: str) -> None:
    known, read = exposed(), list(selectors(expression))
    assert read
    unknown = [name for name, _ in read if name not in known and name not in RECORDED]
    assert unknown == []
    for name, labels in read:
        if name in known:
            assert labels <= known[name], name
    # a recorded metric has the labels of its source metrics
    allowed = set().union(*(labels for name, labels in known.items() if name.startswith("twotower_")), {"job"})
    assert grouped_labels(expression) <= allowed


def test_each_panel_has_its_place() -> None:
    places = [panel["gridPos"] for panel in dashboard()["panels"]]
    cells = [
        (x, y)
        for one in places
        for x in range(one["x"], one["x"] + one["w"])
        for y in range(one["y"], one["y"] + one["h"])
    ]
    assert len(cells) == len(set(cells))
    assert max(x for x, _ in cells) == 23
    ids = [panel["id"] for panel in dashboard()["panels"]]
    assert len(ids) == len(set(ids))


@needs_promtool
@pytest.mark.parametrize(
    "command", [("check", "config", "prometheus.yml"), ("test", "rules", "tests/rules.yml")], ids=lambda one: one[0]
)
def test_promtool_accepts_configuration_and_rules(command: tuple[str, ...]) -> None:
    assert PROMTOOL is not None
    done = subprocess.run([PROMTOOL, *command], cwd=FOLDER, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_each_alert_has_a_unit_test_and_a_row_in_the_documentation() -> None:
    alerts = {str(rule["alert"]) for rule in rules() if "alert" in rule}
    tested = yaml.safe_load((FOLDER / "tests/rules.yml").read_text(encoding="utf-8"))["tests"]
    fired = {case["alertname"] for one in tested for case in one.get("alert_rule_test", ()) if case["exp_alerts"]}
    assert fired == alerts
    page = (ROOT / "docs/observability.md").read_text(encoding="utf-8")
    assert set(re.findall(r"^\| `(Twotower\w+)` \|", page, re.MULTILINE)) == alerts


def test_the_documentation_lists_every_metric_and_its_labels() -> None:
    page = (ROOT / "docs/observability.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(twotower_\w+)` \| ([^|]*) \|", page, re.MULTILINE)
    listed = {name: set(re.findall(r"`(\w+)`", labels)) for name, labels in rows}
    assert len(listed) == len(rows)
    wanted = {
        re.sub("_(bucket|sum|count)$", "", name)
        if labels & {"le"} or name.endswith(("_sum", "_count"))
        else name: labels - {"job", "instance", "le"}
        for name, labels in exposed().items()
        if name.startswith("twotower_")
    }
    # the scheduler's own `job`
    for name in wanted:
        if name.startswith("twotower_schedule_"):
            wanted[name] = wanted[name] | {"job"}
    assert listed == wanted


def compose(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["docker", "compose", *command], cwd=ROOT, capture_output=True, text=True)


@pytest.mark.skipif(shutil.which("docker") is None, reason="docker is not installed")
def test_compose_has_the_profile_and_scrapes_what_runs_in_it() -> None:
    done = compose("--profile", "observability", "--profile", "schedule", "config", "--format", "json")
    assert done.returncode == 0, done.stderr
    services = json.loads(done.stdout)["services"]
    plain = json.loads(compose("config", "--format", "json").stdout)["services"]
    assert {"prometheus", "grafana"} <= services.keys() - plain.keys()
    for name in ("prometheus", "grafana"):
        assert services[name]["profiles"] == ["observability"]
        assert [port["host_ip"] for port in services[name]["ports"]] == ["127.0.0.1"]
        for volume in services[name]["volumes"]:
            assert volume["type"] == "volume" or (volume["read_only"] and (ROOT / volume["source"]).exists())
    assert services["gateway"]["environment"]["TWOTOWER_GATEWAY_METRICS_PORT"] == "9464"
    scraped = yaml.safe_load((FOLDER / "prometheus.yml").read_text(encoding="utf-8"))["scrape_configs"]
    for job in scraped:
        for found in job["dns_sd_configs"]:
            assert found["names"] == [job["job_name"]]
            assert job["job_name"] in services
