"""Figures of every role, as Prometheus would read them; the dashboard and the alerts name what a node exposes."""

from __future__ import annotations

import json
import re
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import yaml
from prometheus_client.parser import text_string_to_metric_families

from dicom_node.jobs import engine
from dicom_node.jobs.circuits import CircuitState
from dicom_node.jobs.measures import EndedDelivery, Measures
from dicom_node.jobs.status import DeliveryState, JobState
from dicom_node.monitoring.figures import InstallationFigures
from dicom_node.node.receiver import Receiver
from dicom_node.observability import catalogue, page
from dicom_node.settings.access import Metrics
from dicom_node.settings.receive import Receive
from pipeline.findings.own_results import is_own_result
from tests.conftest import ROOT
from tests.peers.engine import MakeNode, Node, pacs_table
from tests.peers.pacs import Pacs
from tests.peers.ports import free_port

DASHBOARD: dict[str, Any] = json.loads((ROOT / "deploy" / "grafana" / "candela.json").read_text())
ALERTS: dict[str, Any] = yaml.safe_load((ROOT / "deploy" / "prometheus" / "candela.rules.yml").read_text())
FROM_PROMETHEUS = {"instance", "job", "le"}


def panels() -> Iterator[dict[str, Any]]:
    for panel in DASHBOARD["panels"]:
        yield panel
        yield from panel.get("panels", ())


def expressions() -> Iterator[str]:
    for panel in panels():
        yield from (target["expr"] for target in panel.get("targets", ()))
    for variable in DASHBOARD["templating"]["list"]:
        yield from re.findall(r"label_values\((.*),", variable.get("definition", ""))
    yield from (rule["expr"] for group in ALERTS["groups"] for rule in group["rules"])


def read(metrics: Metrics) -> str:
    return httpx.get(f"http://127.0.0.1:{metrics.port}/metrics", trust_env=False).text


def samples(text: str) -> dict[str, float]:
    """The samples of a page, labels in the order of their names."""
    found = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels = ",".join(f'{name}="{value}"' for name, value in sorted(sample.labels.items()))
            found[f"{sample.name}{{{labels}}}" if labels else sample.name] = sample.value
    return found


def states(node: Node, job_id: str, destination: str) -> set[DeliveryState]:
    return {row.state for row in node.client.show(job_id).deliveries if row.destination == destination}


def circuit(node: Node, destination: str) -> CircuitState:
    return next(row.circuit.state for row in node.client.destinations() if row.name == destination)


def test_the_figures_of_every_role(make_node: MakeNode, tmp_path: Path) -> None:
    """A node reads, refuses, delivers, cannot deliver; its page says so, and every metric of the table is on it."""
    silent = socket.create_server(("127.0.0.1", 0))  # takes connections and never answers
    port = silent.getsockname()[1]
    node = make_node(
        {"archive": {"kind": "folder", "path": str(tmp_path / "archive")}, "pacs": pacs_table(port, timeout=2.2)},
        tries=2, delivery_tries=5, circuit_failures=1, circuit_first=300.0, circuit_most=300.0, backoff_first=0.1,
        backoff_most=0.2,
    )  # fmt: skip
    metrics = Metrics(port=free_port())
    settings = node.settings.model_copy(update={"metrics": metrics, "receive": Receive(port=free_port())})
    (node.data_dir / "summary.json").write_text(
        json.dumps({"predicted_class": "glioma", "probabilities": {"glioma": 0.97, "no_tumor": 0.01}})
    )
    with Measures(settings, time.time()) as measures:
        shown = InstallationFigures(settings, measures)
        receiver = Receiver(settings, lambda _: None, {}, is_own_result, figures=(shown,))  # type: ignore[arg-type]
        receiver.start()
        try:
            plain, refused, broken = (node.job(name, rule=name) for name in ("plain", "refuse", "broken"))
            for job in (plain, refused, broken):
                node.client.submit(job)
            node.start()
            node.wait_for(refused, JobState.DONE)
            node.wait_for(broken, JobState.DEAD)
            node.wait(lambda: states(node, plain.job_id, "archive") == {DeliveryState.DELIVERED}, 30)
            node.wait(lambda: DeliveryState.RETRYING in states(node, plain.job_id, "pacs"), 30)
            node.wait(lambda: DeliveryState.RUNNING not in states(node, plain.job_id, "pacs"), 30)
            node.wait(lambda: circuit(node, "pacs") is CircuitState.OPEN, 30)
            read_of = 'candela_series_read_total{model="brain_mri_tumor",outcome="finding"}'
            node.wait(lambda: read_of in samples(read(metrics)), 30)  # a reading may end after its first deliveries
            text = read(metrics)
            again = samples(read(metrics))
            silent.close()
            with Pacs(port=port):
                assert node.client.resume("pacs")
                node.wait_for(plain, JobState.DONE, 30)
        finally:
            receiver.stop(grace=0)
    with Measures(settings, 0.0) as measures:
        ended = [item for item in measures.ended(time.time()) if isinstance(item, EndedDelivery)]
    late = [item for item in ended if item.item.destination == "pacs" and item.outcome == "delivered"]
    assert len(late) == 2
    queued = {row.workflow_id: row.created_at for row in node.client._rows(plain.job_id)}
    first = {item: engine.delivery_id(plain.job_id, item.item.result.name, "pacs", 1) for item in late}
    assert [item.wanted_since for item in late] == [queued[first[item]] / 1000 for item in late]
    assert any(item.wanted_since < item.times.queued for item in late), "one needed a second attempt, a second later"
    found = samples(text)
    model = 'model="brain_mri_tumor"'
    assert found["candela_engine_up"] == 1
    assert found[read_of] == 1
    assert found[f'candela_series_read_total{{{model},outcome="refused"}}'] == 1
    assert found[f'candela_series_refused_total{{code="MISSING_SLICES",{model}}}'] == 1
    assert found[f'candela_reading_failures_total{{code="UNFORESEEN",{model}}}'] == 1
    assert found[f'candela_predicted_classes_total{{class="glioma",{model}}}'] == 1
    assert found[f'candela_class_probability_ratio_bucket{{class="glioma",le="0.95",{model}}}'] == 0
    assert found[f'candela_class_probability_ratio_bucket{{class="glioma",le="1.0",{model}}}'] == 1
    assert found['candela_dead_letters{queue="infer"}'] == 1
    assert found['candela_dead_letters{queue="deliver:archive"}'] == 0
    assert found['candela_deliveries_total{destination="archive",outcome="delivered"}'] == 3
    assert found['candela_delivery_failures_total{code="PEER_UNAVAILABLE",destination="pacs"}'] >= 1
    assert found['candela_circuit_state{destination="pacs",state="open"}'] == 1
    assert found['candela_circuit_state{destination="archive",state="closed"}'] == 1
    waits = ("queued", "delayed", "running")
    assert sum(found[f'candela_queue_items{{queue="deliver:pacs",state="{state}"}}'] for state in waits) == 2
    for stage, number in {"routing": 3, "queue": 3, "inference": 2, "delivery": 3}.items():
        assert found[f'candela_stage_duration_seconds_count{{priority="routine",stage="{stage}"}}'] == number
    assert found['candela_turnaround_seconds_count{destination="archive",priority="routine"}'] == 3
    counted = {key for key in found if "read_total" in key or ("archive" in key and "_total" in key)}
    assert {key: again[key] for key in counted} == {key: found[key] for key in counted}, "each attempt counts once"
    exposed = {family.name: family.type for family in text_string_to_metric_families(text)}
    assert exposed == {metric.name: metric.kind for metric in catalogue.metrics()}
    assert plain.series_instance_uid not in text


def test_without_the_engine_the_other_figures_are_there(tmp_path: Path) -> None:
    node = Node(tmp_path)
    with Measures(node.settings, time.time()) as measures:
        node.client.close()
        (node.data_dir / "engine.sqlite").rename(node.data_dir / "away.sqlite")
        (node.data_dir / "engine.sqlite").mkdir()
        found = {family.name: family for family in InstallationFigures(node.settings, measures).collect()}
        assert found["candela_engine_up"].samples[0].value == 0
        assert "candela_queue_items" not in found
        assert "candela_series_read" in found
        (node.data_dir / "engine.sqlite").rmdir()
        (node.data_dir / "away.sqlite").rename(node.data_dir / "engine.sqlite")
        back = {family.name: family for family in InstallationFigures(node.settings, measures).collect()}
        assert back["candela_engine_up"].samples[0].value == 1


def test_labels_have_a_bounded_number_of_values(make_node: MakeNode) -> None:
    node = make_node()
    with Measures(node.settings, time.time()) as measures:
        figures = InstallationFigures(node.settings, measures)
        for number in range(3 * catalogue.MOST_VALUES):
            figures._add(catalogue.CLASSES, "model", f"class {number}")
        (family,) = [item for item in figures.collect() if item.name == catalogue.CLASSES.name]
    values = {sample.labels["class"]: sample.value for sample in family.samples}
    assert len(values) == catalogue.MOST_VALUES + 1
    assert values[catalogue.OTHER] == 2 * catalogue.MOST_VALUES


def test_names_follow_prometheus_convention() -> None:
    for metric in catalogue.metrics():
        assert re.fullmatch(r"candela(_[a-z0-9]+)+", metric.name), metric.name
        assert not metric.name.endswith(("_total", "_count", "_sum", "_bucket", "_info_total"))
        assert bool(metric.buckets) == (metric.kind == "histogram")
        if "duration" in metric.name or "turnaround" in metric.name or "oldest" in metric.name:
            assert metric.name.endswith("_seconds")
    every = [metric.name for metric in catalogue.metrics()]
    assert len(every) == len(set(every))


def test_the_page_is_what_the_table_makes() -> None:
    assert page.PAGE.read_text() == page.page(), "run `python -m dicom_node.observability.page`"


def test_dashboard_and_alerts_name_metrics_and_labels_that_exist() -> None:
    known = {name: metric for metric in catalogue.metrics() for name in metric.samples}
    used = set()
    for expression in expressions():
        plain = re.sub(r'"[^"]*"', '""', expression)
        assert plain.count("(") == plain.count(")"), expression
        mentioned = re.findall(r"candela_\w+", plain)
        assert mentioned or "up{" in plain, expression
        assert set(mentioned) <= set(known), expression
        used |= set(mentioned)
        labels = {label for name in mentioned for label in known[name].labels} | FROM_PROMETHEUS
        for name, matchers in re.findall(r"(\w+)\{([^}]*)\}", plain):
            own = set(known[name].labels) | FROM_PROMETHEUS if name in known else FROM_PROMETHEUS
            assert set(re.findall(r"(\w+)\s*[=!]", matchers)) <= own, expression
        for group in re.findall(r"\b(?:by|on)\s*\(([^)]*)\)", plain):
            assert {label.strip() for label in group.split(",")} <= labels, expression
    families = {known[name].name for name in used}
    important = {metric.name for metric in (*catalogue.ENDED_METRICS, *catalogue.PRESENT_METRICS)}
    assert important <= families, "the dashboard shows every figure of the installation"


def test_the_dashboard_is_what_grafana_reads() -> None:
    """Of Grafana's dashboard model: panels with unique ids within 24 columns that do not overlap, targets with a query
    and an own refId, and one data source for all.
    """
    assert DASHBOARD["schemaVersion"] >= 36
    assert DASHBOARD["uid"]
    assert "id" not in DASHBOARD, "Grafana gives it"
    variables = {item["name"] for item in DASHBOARD["templating"]["list"]}
    taken: set[tuple[int, int]] = set()
    identifiers = [panel["id"] for panel in panels()]
    assert len(identifiers) == len(set(identifiers))
    for panel in panels():
        place = panel["gridPos"]
        cells = {(place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])}
        assert place["x"] + place["w"] <= 24
        assert not cells & taken, panel["title"]
        taken |= cells
        if panel["type"] == "row":
            continue
        assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
        assert panel["fieldConfig"]["defaults"]["unit"]
        references = [target["refId"] for target in panel["targets"]]
        assert references
        assert len(references) == len(set(references))
        for target in panel["targets"]:
            assert set(re.findall(r"\$(\w+)", target["expr"])) <= {*variables, "__rate_interval"}


def test_alert_rules_are_what_prometheus_reads() -> None:
    rules = [rule for group in ALERTS["groups"] for rule in group["rules"]]
    assert len({rule["alert"] for rule in rules}) == len(rules)
    for rule in rules:
        assert set(rule) <= {"alert", "expr", "for", "labels", "annotations"}
        assert rule["labels"]["severity"] in {"warning", "critical"}
        assert re.fullmatch(r"\d+[smhd]", rule.get("for", "1m"))
        assert rule["annotations"]["summary"]
        known = {label for name in re.findall(r"candela_\w+", rule["expr"]) for label in LABELS.get(name, ())}
        shown = set(re.findall(r"\$labels\.(\w+)", json.dumps(rule["annotations"])))
        assert shown <= known | {"instance"}


LABELS = {name: metric.labels for metric in catalogue.metrics() for name in metric.samples}
