"""What must hold when all tests of a process are done: nothing that they did left a value where none may be.

Each process that runs tests has a control plane, an operator and a canary of its own, and so checks its own traces.
"""

from __future__ import annotations

import json
import secrets
from typing import TYPE_CHECKING, Any

from scoped_secrets import names
from tests.integration.console import SOURCES, pod, scoped_secret
from tests.support.canary import list_everything
from tests.support.installed import ADMISSION_USER, CONTROLLER_USER

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.integration.company import Company
    from tests.integration.console import Console
    from tests.support.audit_log import AuditLog
    from tests.support.canary import Canary
    from tests.support.installed import InstalledOperator


def check_no_value_is_anywhere_but_in_bundles(
    canary: Canary, console: Console, company: Company, before: Sequence[Company], operator: InstalledOperator
) -> None:
    """Search everything that the tests of this process left for the values of a canary.

    Args:
        canary: The maker of the values.
        console: Reaches the cluster that is searched.
        company: A new organization. A job in it gets values, so that the search is known to find values where they
            may be.
        before: The organizations of the tests, whose namespaces must still be there.
        operator: The operator, whose logs, answers, probes and metrics are searched.
    """
    cluster = console.cluster
    web = company.namespace("web", "web")
    definition = scoped_secret(
        f"{web}/aws", env={"KEY": canary.value("sweep")}, files={"/data/file": canary.awkward("sweep")}
    )
    console.apply(definition)
    company.settle(web)
    console.create(pod(f"{web}/job", "aws"))
    console.seen(web, "job")
    # Answers to somebody who asks without being the API server, and to somebody who asks wrongly.
    for path in ("/mutate/scopedsecrets", "/validate/scopedsecrets"):
        operator.recorder.relay(path, json.dumps(definition).encode(), {"Content-Type": "application/json"})
        operator.recorder.relay(path, json.dumps(_review(definition)).encode(), {"Content-Type": "application/json"})

    probes = {
        f"{process.program.name} {path}": process.probe(path)[1]
        for process in operator.processes()
        for path in ("/healthz", "/readyz")
    }
    scrapes = {f"{process.program.name} /metrics": process.metrics().encode() for process in operator.processes()}
    answers = {
        f"answer {number} of {answer.path}": answer.searchable()
        for number, answer in enumerate(operator.recorder.answers)
    }
    logs = [*operator.logs, *cluster.logs().values()]
    found = canary.sweep(cluster, logs=logs, answers=answers | probes | scrapes)

    assert [str(finding) for finding in found] == []
    # What was searched tells of what happened here.
    everything = list_everything(cluster)
    assert f"Secret/{web}" in " ".join(canary.bundles_with_values(everything))
    listed = {body["metadata"]["name"] for body in everything if body["kind"] == "Namespace"}
    assert {one.home for one in before} <= listed, "the namespace of a test was deleted before the search"
    assert all(log.stat().st_size for log in operator.logs)
    assert {"namespace": web, "name": "job"} in [line["pod"] for line in operator.audit_log()]
    told = b"".join(scrapes.values()).decode()
    assert 'webhook="scopedsecrets.mutate.scopedsecrets.dev"' in told
    assert "scoped_secrets_bundle_secrets_created_total" in told
    assert {"/mutate/scopedsecrets", "/mutate/pods"} <= {answer.path for answer in operator.recorder.answers}


def check_the_operator_was_never_refused_by_its_roles(audit: AuditLog) -> None:
    """Read in the audit log that the roles grant everything that the operator asked for."""
    calls = [call for user in (CONTROLLER_USER, ADMISSION_USER) for call in audit.calls(user)]

    assert {call.user for call in calls} == {CONTROLLER_USER, ADMISSION_USER}
    refused = {(call.user, call.verb, call.resource) for call in calls if call.status in (401, 403)}
    # An API server that has just started refuses for a moment what it has not read the roles of.
    assert refused - {(call.user, call.verb, call.resource) for call in calls if call.is_success} == set()


def check_the_operator_read_no_secret_but_its_own_and_those_that_definitions_name(audit: AuditLog) -> None:
    """Read in the audit log which Secrets the operator read."""
    secret_calls = [
        call
        for user in (CONTROLLER_USER, ADMISSION_USER)
        for call in audit.calls(user)
        if call.resource.partition("/")[0] == "secrets"
        and call.verb not in ("create", "delete")
        and (call.user, call.verb, call.name in SOURCES) != (CONTROLLER_USER, "get", True)
    ]

    assert {call.namespace for call in secret_calls} <= {names.DEFAULT_NAMESPACE}
    # Sealing keys are found by their label, in the namespace of the operator alone.
    assert {call.verb for call in secret_calls} <= {"get", "list", "patch"}


def _review(body: dict[str, Any]) -> dict[str, Any]:
    """Return an AdmissionReview about the creation of a ScopedSecret."""
    return {
        "apiVersion": "admission.k8s.io/v1",
        "kind": "AdmissionReview",
        "request": {
            "uid": secrets.token_hex(8),
            "kind": {"group": names.GROUP, "version": names.VERSION, "kind": body["kind"]},
            "namespace": body["metadata"]["namespace"],
            "name": body["metadata"]["name"],
            "operation": "CREATE",
            "userInfo": {"username": "nobody"},
            "object": body,
        },
    }
