"""The alerts fire when they should and stay silent otherwise, and each has an entry in the runbook."""

import json
import re
from pathlib import Path

import pytest
import yaml
from tests.support.promtool import promtool
from tests.support.scrape import names_in

from scoped_secrets import metrics

CHART = Path(__file__).parents[2] / "helm" / "scoped-secrets"
ALERTS = CHART / "files" / "alerts.yaml"
RUNBOOK = (CHART / "RUNBOOK.md").read_text()
RULES = [rule for group in yaml.safe_load(ALERTS.read_text())["groups"] for rule in group["rules"]]
DASHBOARD = json.loads((CHART / "files" / "dashboard.json").read_text())

WEBHOOK = 'webhook="pods.mutate.scopedsecrets.dev"'
FINE = {
    'scoped_secrets_build_info{component="admission",version="1.0.0"}': "1x120",
    'scoped_secrets_build_info{component="controller",version="1.0.0"}': "1x120",
    'scoped_secrets_ready{component="admission",instance="a"}': "1x120",
    'scoped_secrets_ready{component="admission",instance="b"}': "0x120",
    'scoped_secrets_leader{instance="a"}': "1x120",
    'scoped_secrets_leader{instance="b"}': "0x120",
    'scoped_secrets_inventory_staleness_seconds{component="admission"}': "300x120",
    'scoped_secrets_admission_trusted_issuers_valid{instance="a"}': "1x120",
    'scoped_secrets_admission_gating{instance="a"}': "1x120",
    f'scoped_secrets_admission_reviews_total{{{WEBHOOK},result="denied",reason="InternalError"}}': "0x120",
    f'scoped_secrets_admission_reviews_total{{{WEBHOOK},result="denied",reason="PolicyDenied"}}': "0+60x120",
    f'scoped_secrets_admission_review_duration_seconds_bucket{{{WEBHOOK},le="0.25"}}': "0+100x120",
    f'scoped_secrets_admission_review_duration_seconds_bucket{{{WEBHOOK},le="+Inf"}}': "0+100x120",
    'scoped_secrets_bundle_delay_seconds_bucket{le="0.2"}': "0+100x120",
    'scoped_secrets_bundle_delay_seconds_bucket{le="+Inf"}': "0+100x120",
    'scoped_secrets_bundle_refusals_total{reason="NotInjected"}': "0x120",
    "scoped_secrets_queue_oldest_age_seconds": "1x120",
    'scoped_secrets_reconcile_errors_total{kind="Pod",error="ConflictError"}': "0+1x120",
    'scoped_secrets_conditions{kind="ScopedSecret",type="Ready",status="True",reason="Available"}': "9x120",
    'scoped_secrets_conditions{kind="ScopedSecret",type="Ready",status="False",reason="Expired"}': "2x120",
    'scoped_secrets_conditions{kind="ScopedSecret",type="Ready",status="False",reason="KeyLost"}': "0x120",
    'scoped_secrets_conditions{kind="ScopedSecret",type="Conflicted",status="False",reason="Unique"}': "9x120",
    # The test begins at 0 in Unix time, so that 90 days are this number.
    "scoped_secrets_certificate_expiry_timestamp_seconds": "7776000x120",
    "scoped_secrets_sealing_key_created_timestamp_seconds": "0x120",
    "scoped_secrets_sealing_key_rotation_interval_seconds": "2592000x120",
}
# For each alert, what is otherwise when it should fire.
WRONG = {
    "ScopedSecretsAdmissionDown": {'scoped_secrets_ready{component="admission",instance="a"}': "0x120"},
    "ScopedSecretsNoLeader": {'scoped_secrets_leader{instance="a"}': "0x120"},
    "ScopedSecretsSeveralLeaders": {'scoped_secrets_leader{instance="b"}': "1x120"},
    "ScopedSecretsInventoryStale": {
        'scoped_secrets_inventory_staleness_seconds{component="admission"}': "700x120",
    },
    "ScopedSecretsSeveralVersions": {'scoped_secrets_build_info{component="controller",version="0.9.0"}': "1x120"},
    "ScopedSecretsAdmissionFailing": {
        f'scoped_secrets_admission_reviews_total{{{WEBHOOK},result="denied",reason="InternalError"}}': "0+1x120",
    },
    "ScopedSecretsNotGating": {'scoped_secrets_admission_gating{instance="b"}': "0x120"},
    "ScopedSecretsIssuersRejected": {'scoped_secrets_admission_trusted_issuers_valid{instance="b"}': "0x120"},
    "ScopedSecretsAdmissionSlow": {
        f'scoped_secrets_admission_review_duration_seconds_bucket{{{WEBHOOK},le="0.25"}}': "0+95x120",
        f'scoped_secrets_admission_review_duration_seconds_bucket{{{WEBHOOK},le="2.5"}}': "0+100x120",
    },
    "ScopedSecretsBundlesSlow": {
        'scoped_secrets_bundle_delay_seconds_bucket{le="0.2"}': "0+95x120",
        'scoped_secrets_bundle_delay_seconds_bucket{le="10"}': "0+100x120",
    },
    "ScopedSecretsBundlesRefused": {'scoped_secrets_bundle_refusals_total{reason="NotInjected"}': "0 0 0+1x118"},
    "ScopedSecretsQueueStuck": {"scoped_secrets_queue_oldest_age_seconds": "100x120"},
    "ScopedSecretsReconcileErrors": {
        'scoped_secrets_reconcile_errors_total{kind="Pod",error="ConflictError"}': "0+60x120",
    },
    "ScopedSecretsKeyLost": {
        'scoped_secrets_conditions{kind="ScopedSecret",type="Ready",status="False",reason="KeyLost"}': "1x120",
    },
    "ScopedSecretsNotReady": {
        'scoped_secrets_conditions{kind="ScopedSecret",type="Ready",status="False",reason="SourceMissing"}': "1x120",
    },
    "ScopedSecretsConflicts": {
        'scoped_secrets_conditions{kind="ScopedSecret",type="Conflicted",status="True",reason="SlotTaken"}': "1x120",
    },
    "ScopedSecretsCertificateExpiring": {"scoped_secrets_certificate_expiry_timestamp_seconds": "500000x120"},
    "ScopedSecretsKeyRotationOverdue": {"scoped_secrets_sealing_key_rotation_interval_seconds": "60x120"},
}


def fired(tmp_path, alert, series):
    """Return what promtool says of an alert with these series after nearly two hours; empty when it does not fire."""
    document = {
        "rule_files": [str(ALERTS)],
        "evaluation_interval": "1m",
        "tests": [
            {
                "interval": "1m",
                "input_series": [{"series": name, "values": values} for name, values in series.items()],
                "alert_rule_test": [{"eval_time": "110m", "alertname": alert, "exp_alerts": []}],
            }
        ],
    }
    path = tmp_path / "test.yaml"
    path.write_text(yaml.safe_dump(document))
    try:
        promtool("test", "rules", str(path))
    except AssertionError as error:
        return str(error)
    return ""


def test_promtool_accepts_the_rules():
    assert f"SUCCESS: {len(RULES)} rules found" in promtool("check", "rules", str(ALERTS))


def test_every_alert_has_a_test_scenario():
    assert WRONG.keys() == {rule["alert"] for rule in RULES}


@pytest.mark.parametrize("alert", WRONG)
def test_alert_fires_on_its_condition(alert, tmp_path):
    assert f"alertname: {alert}" in fired(tmp_path, alert, FINE | WRONG[alert])


@pytest.mark.parametrize("alert", WRONG)
def test_alert_is_silent_in_a_healthy_installation(alert, tmp_path):
    assert fired(tmp_path, alert, FINE) == ""


@pytest.mark.parametrize("alert", ["ScopedSecretsAdmissionDown", "ScopedSecretsNoLeader"])
def test_alert_fires_without_any_scrape(alert, tmp_path):
    assert f"alertname: {alert}" in fired(tmp_path, alert, {"up": "0x120"})


def test_disabled_key_rotation_causes_no_alert(tmp_path):
    never = {"scoped_secrets_sealing_key_rotation_interval_seconds": "0x120"}
    assert fired(tmp_path, "ScopedSecretsKeyRotationOverdue", FINE | never) == ""


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_every_alert_has_severity_and_runbook(rule):
    assert rule["labels"]["severity"] in {"critical", "warning"}
    assert {"summary", "description", "runbook_url"} == rule["annotations"].keys()
    assert rule["annotations"]["runbook_url"] == f"RUNBOOK.md#{rule['alert'].lower()}"


def test_the_runbook_has_exactly_one_entry_for_each_alert_with_its_three_parts():
    entries = re.split(r"^## ", RUNBOOK, flags=re.MULTILINE)[1:]
    titles = [entry.splitlines()[0] for entry in entries]

    assert titles == [rule["alert"] for rule in RULES]
    for entry in entries:
        assert re.findall(r"^\*\*(\w+)\.\*\*", entry, flags=re.MULTILINE) == ["Meaning", "Check", "Remedy"], entry


def test_dashboard_has_a_data_source_variable():
    (source,) = (variable for variable in DASHBOARD["templating"]["list"] if variable["type"] == "datasource")
    panels = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]

    assert {panel["datasource"]["uid"] for panel in panels} == {f"${{{source['name']}}}"}
    assert all(target["datasource"] == panel["datasource"] for panel in panels for target in panel["targets"])
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])


def test_panels_do_not_overlap_and_are_described():
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        place = panel["gridPos"]
        cells = {(place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])}
        assert not cells & taken
        assert place["x"] + place["w"] <= 24
        taken |= cells
        assert panel["type"] == "row" or (panel["title"] and panel["description"])


def test_promtool_accepts_the_dashboards_expressions(tmp_path):
    expressions = [target["expr"] for panel in DASHBOARD["panels"] for target in panel.get("targets", [])]
    rules = [
        {"record": f"panel:{number}", "expr": expression.replace("$__rate_interval", "5m").replace("$job", ".*")}
        for number, expression in enumerate(expressions)
    ]
    path = tmp_path / "rules.yaml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": rules}]}))

    assert f"SUCCESS: {len(rules)} rules found" in promtool("check", "rules", str(path))


def test_dashboard_shows_every_metric():

    used = {
        name
        for panel in DASHBOARD["panels"]
        for target in panel.get("targets", [])
        for name in names_in(target["expr"])
    }
    shown = {re.sub(r"_bucket$", "", name) for name in used if name.startswith("scoped_secrets_")}
    made = set()
    for process in (metrics.AdmissionMetrics(), metrics.ControllerMetrics()):
        for family in process.registry.collect():
            made.add(f"{family.name}_total" if family.type == "counter" else family.name)
    made |= {
        getattr(metrics, name).name for name in metrics.__all__ if isinstance(getattr(metrics, name), metrics.Gauge)
    }
    rest = {"scoped_secrets_sealing_keys", "scoped_secrets_sealing_key_rotation_interval_seconds"}

    assert {name for name in made if name.startswith("scoped_secrets_")} - rest == shown
