"""What the processes count, as text: names by the rules of Prometheus, few series, and nothing that names a secret."""

import asyncio
import re
import urllib.error
import urllib.request
from functools import partial
from pathlib import Path

import prometheus_client
import pytest
import yaml
from tests.admission.support import review as a_review
from tests.admission.support import review_context, scoped_secret
from tests.support.builders import definition, home_and_project, inventory, pod_body
from tests.support.promtool import promtool
from tests.support.scrape import names_in, parse_scrape

from scoped_secrets import metrics as gauges
from scoped_secrets.admission.metrics import ReviewRecorder
from scoped_secrets.admission.review import ReviewAllowed, ReviewDenied
from scoped_secrets.admission.state import AdmissionState
from scoped_secrets.admission.webhooks import WEBHOOKS, decide_review, webhook_name
from scoped_secrets.config import MetricsSettings
from scoped_secrets.controller.condition_counts import ConditionCounts
from scoped_secrets.core.decide import DecisionSettings
from scoped_secrets.core.inventory import Inventory
from scoped_secrets.core.policy.policy import Access
from scoped_secrets.core.status import Condition
from scoped_secrets.errors import ConfigurationError
from scoped_secrets.kube.informer import Informer
from scoped_secrets.metrics import AdmissionMetrics, ControllerMetrics
from scoped_secrets.names import ConditionType, Reason
from scoped_secrets.process import METRICS_TYPE, serve_metrics

ROOT = Path(__file__).parents[2]


@pytest.fixture
def recorder() -> ReviewRecorder:
    informer = Informer(Inventory(), default_organization="acme", keep_sealed=False)
    return ReviewRecorder(
        AdmissionState(informer, DecisionSettings(Access.ALLOW_IN_SCOPE, "/root")), informer, lambda: None
    )


def used_controller_metrics() -> ControllerMetrics:
    """Return the controller's metrics with a series of each."""
    metrics = ControllerMetrics()
    metrics.count_reconcile("Pod", "created", 0.01)
    metrics.count_error("Pod", "UnavailableError")
    metrics.count_created()
    metrics.count_deleted()
    metrics.time_bundle(0.1)
    metrics.count_refusal("PolicyDenied")
    for name in gauges.__all__:
        gauge = getattr(gauges, name)
        if isinstance(gauge, gauges.Gauge):
            metrics.read(gauge, partial(lambda labels: [(labels, 1.0)], ("x",) * len(gauge.labels)))
    return metrics


def used_admission_metrics() -> AdmissionMetrics:
    metrics = AdmissionMetrics(["pods.mutate.scopedsecrets.dev"])
    metrics.count_review("pods.mutate.scopedsecrets.dev", "patched", "")
    metrics.count_refused(400)
    return metrics


@pytest.mark.parametrize("make", [used_admission_metrics, used_controller_metrics])
def test_promtool_check_metrics_finds_no_problem(make):
    text = make().render().decode()

    assert promtool("check", "metrics", given=text).strip() == ""


def test_promtool_check_metrics_finds_a_seeded_problem():
    with pytest.raises(AssertionError, match="counter metrics should have"):
        promtool("check", "metrics", given="# HELP x A counter.\n# TYPE x counter\nx 1\n")


@pytest.mark.parametrize("make", [used_admission_metrics, used_controller_metrics])
def test_every_series_of_ours_has_our_prefix_and_a_base_unit(make):
    scrape = parse_scrape(make().render().decode())

    ours = {name for name in scrape.families if not name.startswith("process_")}
    assert all(name.startswith("scoped_secrets_") for name in ours)
    assert not [name for name in ours if re.search(r"(milli|micro|minutes|hours|days|_ms|_percent)", name)]
    assert not [name for name in scrape.samples if name[0].endswith("_created")]


def test_no_label_can_hold_an_object_name():
    texts = (make().render().decode() for make in (used_admission_metrics, used_controller_metrics))
    scrape = parse_scrape(*texts)

    assert set().union(*scrape.labels.values()) <= {
        *("component", "version", "python_version"),
        *("webhook", "result", "reason", "code", "le"),
        *("kind", "error", "type", "status"),
    }


def test_default_registry_of_the_library_stays_unchanged():
    before = prometheus_client.generate_latest()
    used_controller_metrics()

    assert b"scoped_secrets" not in before + prometheus_client.generate_latest()


def test_a_gauge_without_a_value_is_left_out():
    metrics = ControllerMetrics()
    metrics.read_one(gauges.KEY_CREATED, lambda: None)
    metrics.read_one(gauges.LEADER, lambda: 0.0)

    scrape = parse_scrape(metrics.render().decode())
    samples = {name for name, _ in scrape.samples}
    assert gauges.KEY_CREATED.name not in samples
    assert gauges.LEADER.name in samples


def test_gauges_are_read_at_every_scrape_and_never_before():
    metrics, values = ControllerMetrics(), iter([3.0, 5.0])
    metrics.read_one(gauges.QUEUE_DEPTH, lambda: next(values))

    seen = [parse_scrape(metrics.render().decode()).value(gauges.QUEUE_DEPTH.name) for _ in range(2)]
    assert seen == [3.0, 5.0]


def test_webhooks_have_the_names_of_the_webhook_configurations():
    documents = yaml.safe_load_all((ROOT / "manifests" / "40-webhooks.yaml").read_text())
    configured = {
        webhook["name"]: webhook["clientConfig"]["service"]["path"]
        for document in documents
        for webhook in document["webhooks"]
    }

    by_project = {"interactive-by-project.validate.scopedsecrets.dev": "/validate/interactive"}
    # Configurations of earlier releases are answered during an upgrade.
    former = {"pods.validate.scopedsecrets.dev": "/validate/pods"}
    assert {webhook_name(path): path for path in WEBHOOKS} | by_project == configured | former


def test_decisions_are_counted_by_result_and_reason(recorder):
    known = review_context(inventory(home_and_project(), [definition("acme/aws", env={"A": "a"})]))
    for wanted in ("aws", "aws", "nothing"):
        review = a_review("pods", pod_body(wanted))
        outcome = decide_review(WEBHOOKS["/mutate/pods"], review, known)
        recorder.decided("/mutate/pods", review, outcome)
        recorder.answered("/mutate/pods", 200, 0.002)
    recorder.answered("/nobody/knows", 404, 0.001)

    scrape = parse_scrape(recorder.metrics.render().decode())
    name, webhook = "scoped_secrets_admission_reviews_total", "pods.mutate.scopedsecrets.dev"
    assert scrape.value(name, webhook=webhook, result="patched") == 2
    assert scrape.value(name, webhook=webhook, result="denied", reason="NotFound") == 1
    assert scrape.value("scoped_secrets_admission_review_duration_seconds_count", webhook=webhook) == 3
    assert scrape.value("scoped_secrets_admission_refused_requests_total", code="404") == 1
    assert scrape.value("scoped_secrets_ready") == 0


def test_series_of_alerts_exist_before_their_first_event(recorder):
    scrape = parse_scrape(recorder.metrics.render().decode())

    critical = frozenset(
        {("webhook", "pods.mutate.scopedsecrets.dev"), ("result", "denied"), ("reason", "InternalError")}
    )
    assert scrape.samples["scoped_secrets_admission_reviews_total", critical] == 0


def test_denial_is_logged_with_object_and_reason_without_the_body(recorder, caplog):
    body = scoped_secret(env=[{"name": "KEY", "value": "canary-5b1e"}])
    review = a_review("scopedsecrets", body)

    with caplog.at_level("INFO"):
        recorder.decided("/mutate/scopedsecrets", review, ReviewDenied(Reason.SLOT_TAKEN, "a sentence"))
        recorder.decided("/mutate/scopedsecrets", review, ReviewAllowed())

    (record,) = caplog.records
    told = record.context
    assert (told["webhook"], told["result"], told["reason"]) == (
        "scopedsecrets.mutate.scopedsecrets.dev",
        "denied",
        "SlotTaken",
    )
    assert told["object"] == f"{review.namespace}/{review.name}"
    assert "canary-5b1e" not in str(told)


def test_a_pod_with_a_generated_name_is_logged_by_its_beginning(recorder, caplog):
    body = pod_body("aws", metadata={"generateName": "deploy-"})
    del body["metadata"]["name"]
    review = a_review("pods", body, name="")

    with caplog.at_level("INFO"):
        recorder.decided("/mutate/pods", review, ReviewDenied(Reason.NOT_FOUND, "a sentence"))

    assert caplog.records[0].context["object"] == f"{review.namespace}/deploy-*"


def test_a_forged_name_cannot_fill_the_log(recorder, caplog):
    review = a_review("pods", pod_body("aws"), name="x" * 100_000)

    with caplog.at_level("INFO"):
        recorder.decided("/mutate/pods", review, ReviewDenied(Reason.NOT_FOUND, "a sentence"))

    assert len(str(caplog.records[0].context)) < 1000


async def test_metrics_port_serves_only_metrics():
    async with serve_metrics(MetricsSettings("127.0.0.1", 0), lambda: b"x 1\n") as port:
        body, kind = await asyncio.to_thread(get, port, "/metrics")

        assert (body, kind) == (b"x 1\n", METRICS_TYPE)
        with pytest.raises(urllib.error.HTTPError, match="404"):
            await asyncio.to_thread(get, port, "/")


async def test_port_in_use_is_reported_with_its_flags():
    async with serve_metrics(MetricsSettings("127.0.0.1", 0), bytes) as port:
        with pytest.raises(ConfigurationError, match="--metrics-host and --metrics-port"):
            async with serve_metrics(MetricsSettings("127.0.0.1", port or 0), bytes):
                pass


async def test_without_settings_there_is_no_port():
    async with serve_metrics(None, bytes) as port:
        assert port is None


class TestTally:
    """Numbers of conditions without reading all of them."""

    READY = Condition(ConditionType.READY, Reason.AVAILABLE, "", is_true=True)
    LOST = Condition(ConditionType.READY, Reason.KEY_LOST, "", is_true=False)
    UNIQUE = Condition(ConditionType.CONFLICTED, Reason.UNIQUE, "", is_true=False)

    def numbers(self, condition_counts):
        return {(kind, *said): number for kind, said, number in condition_counts.numbers()}

    def test_every_condition_of_every_object_counts_once(self):
        condition_counts: ConditionCounts[str] = ConditionCounts()
        for _ in range(2):
            condition_counts.put("ScopedSecret", "a", [self.READY, self.UNIQUE])
            condition_counts.put("ScopedSecret", "b", [self.LOST, self.UNIQUE])

        assert self.numbers(condition_counts) == {
            ("ScopedSecret", "Ready", "True", "Available"): 1,
            ("ScopedSecret", "Ready", "False", "KeyLost"): 1,
            ("ScopedSecret", "Conflicted", "False", "Unique"): 2,
        }

    def test_changed_and_deleted_objects_are_not_counted(self):
        condition_counts: ConditionCounts[str] = ConditionCounts()
        condition_counts.put("ScopedSecret", "a", [self.LOST])
        condition_counts.put("ScopedSecret", "b", [self.LOST])
        condition_counts.put("ScopedSecret", "a", [self.READY])
        condition_counts.remove("ScopedSecret", "b")
        condition_counts.remove("ScopedSecret", "never there")

        assert self.numbers(condition_counts)["ScopedSecret", "Ready", "False", "KeyLost"] == 0
        assert self.numbers(condition_counts)["ScopedSecret", "Ready", "True", "Available"] == 1

    def test_new_leader_starts_from_zero(self):
        condition_counts: ConditionCounts[str] = ConditionCounts()
        condition_counts.put("ScopedSecret", "a", [self.LOST])
        condition_counts.clear()
        condition_counts.put("ScopedSecret", "a", [self.READY])

        assert self.numbers(condition_counts) == {("ScopedSecret", "Ready", "True", "Available"): 1}


def test_names_are_found_in_an_expression():
    expression = 'sum by (le, kind) (rate(a_total{x="b{}"}[5m])) / on (job) group_left () b_seconds and c > 2 * time()'

    assert names_in(expression) == {"a_total", "b_seconds", "c"}


def get(port, path):
    unsealer = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with unsealer.open(f"http://127.0.0.1:{port}{path}", timeout=5) as response:
        return response.read(), response.headers["Content-Type"]
