"""What both real processes tell Prometheus, and whether alerts and dashboard ask for nothing else."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import yaml

from scoped_secrets import names
from tests.cluster.processes import wait_until
from tests.integration.console import pod, scoped_secret
from tests.support.promtool import promtool
from tests.support.scrape import FROM_OUTSIDE, Scrape, groupings_in, labels_in, names_in, parse_scrape

if TYPE_CHECKING:
    from tests.integration.company import Company
    from tests.integration.console import Console
    from tests.support.installed import InstalledOperator

pytestmark = pytest.mark.integration

FILES = Path(__file__).parents[2] / "helm" / "scoped-secrets" / "files"
SECONDS = 30.0


def expressions() -> dict[str, str]:
    """Return all expressions of alerts and dashboard, by where they stand."""
    groups = yaml.safe_load((FILES / "alerts.yaml").read_text())["groups"]
    alerts = {rule["alert"]: rule["expr"] for group in groups for rule in group["rules"]}
    panels = json.loads((FILES / "dashboard.json").read_text())["panels"]
    targets = {
        f"{panel['title']} {target['refId']}": target["expr"] for panel in panels for target in panel.get("targets", [])
    }
    return alerts | targets


def scrape(operator: InstalledOperator) -> Scrape:
    """Return what Prometheus would know after scraping every process once."""
    return parse_scrape(*(process.metrics() for process in operator.processes()))


def test_alerts_and_dashboard_use_only_exported_metrics(operator: InstalledOperator, company: Company):
    company.namespace("web", "web")
    told = scrape(operator)

    asked = {name: place for place, expression in expressions().items() for name in names_in(expression)}
    assert {name: place for name, place in asked.items() if not told.has(name)} == {}
    assert len(asked) > 20


def test_alerts_and_dashboard_use_only_exported_labels(operator: InstalledOperator, company: Company, console: Console):
    web = company.namespace("web", "web")
    console.apply(scoped_secret(f"{web}/aws", env={"KEY": "x"}))
    company.settle(web)
    console.create(pod(f"{web}/job", "aws"))
    console.seen(web, "job")
    console.refusal(pod(f"{web}/refused", "nothing"))
    # A family without a label of its own in this scrape has no series yet, and its labels are those of the code.
    told = scrape(operator)
    known = {label for labels in told.labels.values() for label in labels} | FROM_OUTSIDE | {"error", "code"}

    for place, expression in expressions().items():
        for series, labels in labels_in(expression).items():
            if told.labels[series]:
                assert labels <= told.labels[series] | FROM_OUTSIDE, f"{place}: {series}"
        assert groupings_in(expression) <= known, place


def test_job_is_counted_in_the_metrics(operator: InstalledOperator, company: Company, console: Console):
    web = company.namespace("web", "web")
    console.apply(scoped_secret(f"{web}/aws", env={"KEY": "x"}))
    company.settle(web)
    operator.keep_one_controller()
    before = scrape(operator)
    console.create(pod(f"{web}/job", "aws"))
    console.seen(web, "job")
    wait_until(
        lambda: grew(operator, before, "scoped_secrets_bundle_delay_seconds_count"), "the bundle", seconds=SECONDS
    )
    # Finished and not deleted: of a deleted pod the garbage collector may remove the bundle first.
    console.set_phase(web, "job", "Succeeded", started=True)
    wait_until(
        lambda: grew(operator, before, "scoped_secrets_bundle_secrets_deleted_total"), "its end", seconds=SECONDS
    )
    after = scrape(operator)

    reviews = "scoped_secrets_admission_reviews_total"
    pods = {"webhook": "pods.mutate.scopedsecrets.dev", "result": "patched"}
    assert after.value(reviews, **pods) > before.value(reviews, **pods)
    created = "scoped_secrets_bundle_secrets_created_total"
    assert after.value(created) > before.value(created)
    reconciles = "scoped_secrets_reconciles_total"
    for result in ("created", "deleted"):
        assert after.value(reconciles, kind="Pod", result=result) > before.value(reconciles, kind="Pod", result=result)
    assert after.value("scoped_secrets_admission_review_duration_seconds_count") > 0


def test_a_refused_pod_is_counted_with_its_reason(operator: InstalledOperator, company: Company, console: Console):
    web = company.namespace("web", "web")
    denied = {"result": "denied", "reason": names.Reason.NOT_FOUND.value}

    def count() -> float:
        return scrape(operator).value("scoped_secrets_admission_reviews_total", **denied)

    def counted() -> float:
        before = count()
        console.refusal(pod(f"{web}/job", "nothing"))
        return count() - before

    # Several times: the controller of a workload that another test left may be refused in between.
    assert 1 in {counted() for _ in range(3)}


def test_the_state_of_both_processes_can_be_read(operator: InstalledOperator, company: Company, console: Console):
    web = company.namespace("web", "web")
    console.apply(scoped_secret(f"{web}/aws", env={"KEY": "x"}))
    company.settle(web)
    operator.keep_one_controller()
    told = scrape(operator)

    assert told.value("scoped_secrets_leader") == 1
    for component in ("controller", "admission"):
        assert told.value("scoped_secrets_ready", component=component) == 1
        assert told.value("scoped_secrets_build_info", component=component) == 1
        assert told.value("scoped_secrets_inventory_objects", component=component, kind="ScopedSecret") >= 1
        assert 0 <= told.value("scoped_secrets_inventory_staleness_seconds", component=component) < 600
        # The key of this run is younger than an hour, in Unix time.
        created = told.value("scoped_secrets_sealing_key_created_timestamp_seconds", component=component)
        assert created > 1.7e9
    assert told.value("scoped_secrets_certificate_expiry_timestamp_seconds") > created + 80 * 86400
    ready = {"kind": "ScopedSecret", "type": "Ready", "status": "True", "reason": "Available"}
    assert told.value("scoped_secrets_conditions", **ready) >= 1


def test_promtool_finds_no_problem_in_real_scrapes(operator: InstalledOperator, company: Company):
    company.namespace("web", "web")
    for process in operator.processes():
        assert promtool("check", "metrics", given=process.metrics()).strip() == ""


def test_no_series_names_an_object_or_a_namespace(operator: InstalledOperator, company: Company, console: Console):
    web = company.namespace("web", "web")
    console.apply(scoped_secret(f"{web}/curious-name", env={"KEY": "x"}))
    company.settle(web)
    console.create(pod(f"{web}/curious-job", "curious-name"))
    console.seen(web, "curious-job")

    text = "".join(process.metrics() for process in operator.processes())
    assert not re.search(rf"curious|{re.escape(web)}", text)


def test_standby_reports_that_it_is_not_the_leader(operator: InstalledOperator, company: Company):
    company.namespace("web", "web")
    standby = operator.start_controller()
    try:
        told = parse_scrape(standby.metrics())

        assert told.value("scoped_secrets_leader") == 0
        assert told.value("scoped_secrets_ready", component="controller") == 1
        assert not told.labels["scoped_secrets_conditions"]
    finally:
        standby.program.kill()


def test_every_reconcile_of_a_job_is_one_line_with_its_object_and_result(
    operator: InstalledOperator, company: Company, console: Console
):
    web = company.namespace("web", "web")
    console.apply(scoped_secret(f"{web}/aws", env={"KEY": "x"}))
    company.settle(web)
    console.create(pod(f"{web}/told", "aws"))
    console.seen(web, "told")
    wait_until(lambda: bool(lines_about(operator, f"{web}/told", "created")), "the line", seconds=SECONDS)

    assert lines_about(operator, f"{web}/aws", "written")
    (line,) = lines_about(operator, f"{web}/told", "created")
    assert "kind=Pod" in line
    assert "seconds=" in line


def lines_about(operator: InstalledOperator, place: str, result: str) -> list[str]:
    """Return the lines of a reconcile of an object with a result."""
    lines = [line for log in operator.logs for line in log.read_text().splitlines()]
    return [line for line in lines if "reconciled" in line and f"object={place}" in line and f"result={result}" in line]


def grew(operator: InstalledOperator, before: Scrape, name: str) -> bool:
    """Tell whether a number is greater than it was."""
    return scrape(operator).value(name) > before.value(name)
