"""Run the cases of a file: decide about each job as the cluster would, and compare with what the case expects."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from scoped_secrets.api.job_cases import CaseModel, CasesFile, ExpectationModel, JobModel, parse_cases
from scoped_secrets.core.admission_record import AdmissionRecord
from scoped_secrets.core.decide import DecisionSettings, Denied, Granted
from scoped_secrets.errors import ConfigurationError, InvalidObjectError
from scoped_secrets.messages import quoted_names
from scoped_secrets.operations.given_scope import parse_given_scope
from scoped_secrets.operations.jobs import JobDescription, JobPod, Question, described_pod, judge, pods_of
from scoped_secrets.operations.manifests import read_manifests, read_mapping
from scoped_secrets.operations.offline_cluster import OfflineCluster, build_cluster

__all__ = ["CaseResult", "run_cases"]

_SHOWN = 20


@dataclass(frozen=True, slots=True)
class CaseResult:
    """The result of one case.

    Attributes:
        path: The file of the case.
        name: The case.
        differences: What is otherwise than expected, one sentence each; empty for a case that passes.
    """

    path: str
    name: str
    differences: tuple[str, ...]

    @property
    def has_passed(self) -> bool:
        """Tell whether the cluster decides as expected."""
        return not self.differences


def run_cases(paths: Sequence[str], now: datetime) -> tuple[CaseResult, ...]:
    """Run the cases of all files, in their order.

    Args:
        paths: The files of cases.
        now: The time of the decisions in files that state none.

    Raises:
        ConfigurationError: A file is no file of cases, or a definition in it cannot be stored.
    """
    return tuple(result for path in paths for result in _run_file(path, now))


def _run_file(path: str, now: datetime) -> Iterator[CaseResult]:
    try:
        file = parse_cases(read_mapping(path))
    except InvalidObjectError as error:
        problem = error.message
    else:
        cluster = build_cluster(
            read_manifests([str(Path(path).parent / each) for each in file.definitions]),
            tuple(map(parse_given_scope, file.namespace_scopes)),
            default_organization=file.organization,
        )
        yield from (CaseResult(path, case.name, _run(path, case, file, cluster, now)) for case in file.cases)
        return
    raise ConfigurationError(f"{path}: {problem}")


def _run(path: str, case: CaseModel, file: CasesFile, cluster: OfflineCluster, now: datetime) -> tuple[str, ...]:
    claims = case.claims
    record = AdmissionRecord(creator=claims.creator, ref=claims.ref, event=claims.event)
    question = Question(file.now or now, DecisionSettings(file.default_access, file.default_home), record)
    if case.job is not None:
        pod = described_pod(_description(case.job), cluster.inventory)
    else:
        pod = _pod_of_file(path, case.pod or "")
    _, decision = judge(pod, cluster.inventory, question)
    return tuple(_differences(case.expect, decision))


def _pod_of_file(path: str, name: str) -> JobPod:
    file = str(Path(path).parent / name)
    manifests = read_manifests([file])
    manifests.require_readable()
    pods = [pod for document in manifests.documents for pod in pods_of(document, None)]
    if len(pods) != 1:
        raise ConfigurationError(f"{file} must have one Pod, or one workload with a pod template, and has {len(pods)}")
    if not pods[0].wants_injection:
        raise ConfigurationError(f"{pods[0].origin} does not opt in; give the pod the label of the opt-in")
    return pods[0]


def _description(job: JobModel) -> JobDescription:
    return JobDescription(
        secrets=job.secrets,
        namespace=job.namespace,
        organization=job.organization,
        project=job.project,
        environment=job.environment,
        service_account=job.service_account,
        labels=job.labels,
        annotations=job.annotations,
    )


def _differences(expected: ExpectationModel, decision: Granted | Denied) -> Iterator[str]:
    """Yield what is otherwise than expected."""
    if isinstance(decision, Denied):
        got = f"{decision.reason}: {decision.message}"
        if expected.denied is None:
            yield f"the job is denied: {got}"
        elif decision.reason is not expected.denied:
            yield f"the job is denied for another reason than {expected.denied}: {got}"
        elif expected.message is not None and expected.message not in got:
            yield f"the denial does not contain `message`: {got}"
        return
    if expected.denied is not None:
        yield f"the job is allowed, and {expected.denied} is expected"
        return
    grant, document = decision.grant, json.loads(decision.injection.resolution)
    winners = {applied.name: applied.resolution.winner.definition.location for applied in grant.applied}
    left_out = {left.name: left.reason.value for left in grant.left_out}
    files = {path for container in document["files"].values() for path in container}
    if expected.winners is not None and expected.winners != winners:
        yield f"`winners` is {_mapping(winners)}, expected {_mapping(expected.winners)}"
    if expected.left_out is not None and expected.left_out != left_out:
        yield f"`leftOut` is {_mapping(left_out)}, expected {_mapping(expected.left_out)}"
    yield from _list_differences("variables", expected.variables, document["env"])
    yield from _list_differences("files", expected.files, files)


def _list_differences(field: str, expected: Sequence[str] | None, got: object) -> Iterator[str]:
    if expected is None or not isinstance(got, dict | set):
        return
    missing, more = sorted(set(expected) - set(got)), sorted(set(got) - set(expected))
    if missing:
        yield f"`{field}` lacks {quoted_names(missing, _SHOWN)}"
    if more:
        yield f"`{field}` also has {quoted_names(more, _SHOWN)}"


def _mapping(members: object) -> str:
    return json.dumps(members, sort_keys=True, ensure_ascii=False)
