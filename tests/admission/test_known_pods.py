"""Pods of one shape are decided about once, and get what they would get alone."""

import copy
import dataclasses
import inspect
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.admission.support import ask, patched, permission, refusal, review_context
from tests.strategies import JOBS, NAMESPACES, Job, Store, definitions, examples, policies, stores
from tests.support.builders import (
    BASE,
    NOW,
    container,
    definition,
    home_and_project,
    inventory,
    pod_body,
    policy,
    selector,
)

from scoped_secrets import names
from scoped_secrets.admission.creators import signed_creator
from scoped_secrets.admission.pod_shapes import read_shape
from scoped_secrets.admission.ready_patch import ReadyPatch
from scoped_secrets.admission.review import Outcome, ReviewAllowed
from scoped_secrets.core.audit import describe_decision
from scoped_secrets.core.decide import DecisionSettings, Denied, Granted, decide
from scoped_secrets.core.decision_period import decision_period
from scoped_secrets.core.grant import DecisionTrail
from scoped_secrets.core.inventory import Inventory
from scoped_secrets.core.pod import Container, EnvFrom, Mount, Pod, SecurityContext, Variable, Volume, parse_pod
from scoped_secrets.core.policy.claims import Rule
from scoped_secrets.core.policy.issuers import ClaimSource, SourceKind, TrustedIssuer
from scoped_secrets.core.policy.policy import Access, Effect, Policy
from scoped_secrets.core.policy.subjects import Subject, SubjectKind
from scoped_secrets.core.resolution.definitions import Definition, Entry, PlainSource, Previous

MUTATE = "/mutate/pods"
Body = dict[str, Any]
AWS = definition("acme/aws", env={"AWS_KEY": "one", "HOME_PAGE": "two"}, files={".ssh/id": "three", "/opt/x": "four"})
MOUNTED_AT = "/var/run/secrets/kubernetes.io/serviceaccount"


def pod(volume: str = "kube-api-access-abcde", **spec: Any) -> Body:
    """Return a pod as the API server sends it: with a name to generate and the volume of its token."""
    body = pod_body(
        "aws",
        containers=[
            container(
                role,
                image="busybox",
                command=["sh", "-c"],
                args=["make"],
                env=[{"name": "CI_JOB_ID", "value": "1"}, {"name": "HOME", "value": "/home/ci"}],
                volumeMounts=[
                    {"name": "work", "mountPath": "/work"},
                    {"name": volume, "readOnly": True, "mountPath": MOUNTED_AT},
                ],
            )
            for role in ("build", "helper")
        ],
        metadata={
            "generateName": "job-",
            "labels": {names.INJECT_LABEL: "true", "batch.kubernetes.io/job-name": "one"},
            "ownerReferences": [{"uid": "owner-1", "kind": "Job", "name": "one", "controller": True}],
        },
        volumes=[{"name": "work", "emptyDir": {}}, {"name": volume, "projected": {"sources": [], "defaultMode": 420}}],
        serviceAccountName="default",
        **spec,
    )
    del body["metadata"]["name"]
    return body


def decide_alone(body: Mapping[str, Any], build: Callable[[], Inventory], now: datetime, **given: Any) -> Outcome:
    request = given.pop("request", {})
    return ask(MUTATE, body, review_context(build(), now=now, **given), **request)


def described(outcome: Outcome) -> object:
    decision = outcome.decision
    return describe_decision(decision) if isinstance(decision, DecisionTrail) else decision


def is_from_memory(outcome: Outcome) -> bool:
    return isinstance(outcome, ReviewAllowed) and isinstance(outcome.operations, ReadyPatch)


def web(*policies: Policy, **annotations: str) -> Inventory:
    return inventory(home_and_project(**annotations), [AWS], policies)


SAME: Mapping[str, Callable[[Body], object]] = {
    "another name to generate": lambda body: body["metadata"].update(generateName="other-"),
    "a name": lambda body: body["metadata"].update(name="one"),
    "another owner": lambda body: body["metadata"]["ownerReferences"][0].update(uid="owner-2"),
    "another generated label": lambda body: body["metadata"]["labels"].update({"batch.kubernetes.io/job-name": "two"}),
    "another annotation of another program": lambda body: body["metadata"]["annotations"].update({"ci/job": "2"}),
    "another volume of the token": lambda body: body.update(pod("kube-api-access-zzzzz")),
    "another value": lambda body: body["spec"]["containers"][0]["env"][0].update(value="another"),
    "a value that looks like another expansion": lambda body: body["spec"]["containers"][0]["env"][0].update(
        value="$1"
    ),
    "another script": lambda body: body["spec"]["containers"][0].update(args=["test $(date) $(CI_JOB_ID)"]),
    "another image": lambda body: body["spec"]["containers"][0].update(image="other"),
    "other resources": lambda body: body["spec"]["containers"][0].update(resources={"limits": {"cpu": "1"}}),
    "another priority": lambda body: body["spec"].update(priorityClassName="high"),
    "a host name": lambda body: body["spec"].update(hostname="one"),
}
"""What pods of one shape differ in."""


@pytest.mark.parametrize("change", SAME.values(), ids=SAME.keys())
def test_a_second_pod_of_a_shape_is_answered_from_memory_like_alone(change: Callable[[Body], object]):
    known = web()
    first, second = pod(), pod()
    change(second)
    users = {"userInfo": {"username": "system:serviceaccount:kube-system:job-controller"}}
    assert not is_from_memory(ask(MUTATE, first, review_context(known), **users))

    outcome = ask(MUTATE, second, review_context(known), uid="another", **users)

    assert is_from_memory(outcome)
    alone = decide_alone(second, web, NOW, request={"uid": "another", **users})
    assert outcome == alone
    assert described(outcome) == described(alone)
    assert patched(second, outcome) == patched(second, alone)


DIFFERENT: Mapping[str, Callable[[Body], object]] = {
    "another reference": lambda body: body["metadata"]["annotations"].update({names.SECRETS_ANNOTATION: "none?"}),
    "a missing bundle": lambda body: body["metadata"]["annotations"].update({names.SECRETS_ANNOTATION: "none"}),
    "another home": lambda body: body["metadata"]["annotations"].update({names.HOME_ANNOTATION: "/home/other"}),
    "another user": lambda body: body["metadata"]["annotations"].update({names.RUN_AS_USER_ANNOTATION: "1000"}),
    "fewer containers": lambda body: body["metadata"]["annotations"].update({names.CONTAINERS_ANNOTATION: "build"}),
    "an unknown annotation": lambda body: body["metadata"]["annotations"].update({f"{names.GROUP}/secret": "aws"}),
    "a label instead of an annotation": lambda body: body["metadata"]["labels"].update(
        {names.SECRETS_ANNOTATION: body["metadata"]["annotations"].pop(names.SECRETS_ANNOTATION)}
    ),
    "no annotations": lambda body: body["metadata"].pop("annotations"),
    "empty annotations": lambda body: body["metadata"].update(annotations={}),
    "annotations that are no object": lambda body: body["metadata"].update(annotations=[]),
    "an annotation that is no text": lambda body: body["metadata"]["annotations"].update(other=1),
    "another name of a container": lambda body: body["spec"]["containers"][0].update(name="other"),
    "an init container": lambda body: body["spec"].update(initContainers=[container("first")]),
    "containers as init containers": lambda body: body["spec"].update(
        initContainers=body["spec"]["containers"], containers=[]
    ),
    "init containers that are no list": lambda body: body["spec"].update(initContainers={}),
    "another variable": lambda body: body["spec"]["containers"][0]["env"].append({"name": "B", "value": "1"}),
    "a variable of the bundle": lambda body: body["spec"]["containers"][0]["env"].append(
        {"name": "AWS_KEY", "value": "own"}
    ),
    "no variables": lambda body: body["spec"]["containers"][0].pop("env"),
    "an empty list of variables": lambda body: body["spec"]["containers"][0].update(env=[]),
    "another HOME": lambda body: body["spec"]["containers"][0]["env"][1].update(value="/home/other"),
    "a HOME that is not known": lambda body: body["spec"]["containers"][0]["env"][1].update(value="$(WHERE)"),
    "a hidden variable": lambda body: body["spec"]["containers"][0]["env"][0].update(
        name=f"{names.HIDDEN_VARIABLE_PREFIX}X"
    ),
    "a variable of a Secret": lambda body: body["spec"]["containers"][0]["env"].append(
        {"name": "B", "valueFrom": {"secretKeyRef": {"name": "own", "key": "k"}}}
    ),
    "a variable of no Secret": lambda body: body["spec"]["containers"][0]["env"].append(
        {"name": "B", "valueFrom": {"secretKeyRef": {"name": "own"}}}
    ),
    "a variable of another bundle": lambda body: body["spec"]["containers"][0]["env"].append(
        {"name": "B", "valueFrom": {"secretKeyRef": {"name": "ssec-other-0", "key": "k"}}}
    ),
    "a value that is no text": lambda body: body["spec"]["containers"][0]["env"][0].update(value=1),
    "an argument that is no text": lambda body: body["spec"]["containers"][0].update(args=[["make"]]),
    "arguments that are no list": lambda body: body["spec"]["containers"][0].update(args="make"),
    "an expression": lambda body: body["spec"]["containers"][0]["env"][0].update(value="${secrets.aws.AWS_KEY}"),
    "an expression where none is expanded": lambda body: body["spec"].update(hostname="${secrets.aws.AWS_KEY}"),
    "a value that is too long": lambda body: body["spec"]["containers"][0]["env"][0].update(value="x" * 140_000),
    "values that are too long together": lambda body: body["spec"]["containers"][0].update(
        args=["$(A)" * 50, *("y" * 900,) * 60],
        env=[{"name": "A", "value": "x" * 4000}],
    ),
    "values that expand": lambda body: body["spec"]["containers"][0].update(env=expanding(1)),
    "a value that expands to too much": lambda body: body["spec"]["containers"][0].update(env=expanding(100)),
    "an argument that expands to too much": lambda body: body["spec"]["containers"][0].update(
        args=["$(CI_JOB_ID)" * 2000], env=[{"name": "CI_JOB_ID", "value": "x" * 1000}, {"name": "HOME", "value": "/x"}]
    ),
    "values and arguments that do not": lambda body: body["spec"]["containers"][0].update(
        args=["$(CI_JOB_ID)"], env=[{"name": "CI_JOB_ID", "value": "x"}, {"name": "HOME", "value": "/x"}]
    ),
    "variables of a ConfigMap": lambda body: body["spec"]["containers"][0].update(
        envFrom=[{"configMapRef": {"name": "kube-api-access-abcde", "optional": True}}]
    ),
    "a mount in the way": lambda body: body["spec"]["containers"][0]["volumeMounts"][0].update(mountPath="/opt"),
    "a mount over a file": lambda body: body["spec"]["containers"][0]["volumeMounts"][0].update(mountPath="/opt/x"),
    "the token's mount in the way": lambda body: body["spec"]["containers"][0]["volumeMounts"][1].update(
        mountPath="/opt"
    ),
    "another kind of volume": lambda body: body["spec"]["volumes"][0].update(
        {"name": "work", "emptyDir": None, "configMap": {"name": "x"}}
    ),
    "a volume with the reserved name": lambda body: body["spec"]["volumes"][0].update(name=names.VOLUME_NAME),
    "no volumes": lambda body: body["spec"].pop("volumes"),
    "another service account": lambda body: body["spec"].update(serviceAccountName="deployer"),
    "a pull secret of a bundle": lambda body: body["spec"].update(imagePullSecrets=[{"name": "ssec-x-0"}]),
    "pull secrets that are no list": lambda body: body["spec"].update(imagePullSecrets=5),
    "a user": lambda body: body["spec"].update(securityContext={"runAsUser": 1000}),
    "a group": lambda body: body["spec"].update(securityContext={"fsGroup": 1000}),
    "a user of a container": lambda body: body["spec"]["containers"][0].update(securityContext={"runAsUser": 0}),
    "Windows": lambda body: body["spec"].update(os={"name": "windows"}),
    "a node of Windows": lambda body: body["spec"].update(nodeSelector={"kubernetes.io/os": "windows"}),
    "a node": lambda body: body["spec"].update(nodeName="one"),
    "a gate": lambda body: body["spec"].update(schedulingGates=[{"name": "kueue"}]),
    "the bundle's gate": lambda body: body["spec"].update(schedulingGates=[{"name": names.BUNDLE_GATE}]),
    "no owner": lambda body: body["metadata"].pop("ownerReferences"),
    "an owner without a UID": lambda body: body["metadata"]["ownerReferences"][0].pop("uid"),
    "a mirror pod": lambda body: body["metadata"]["annotations"].update({names.MIRROR_ANNOTATION: "x"}),
    "a record of its own": lambda body: body["metadata"]["annotations"].update({names.CLAIMS_ANNOTATION: "{}"}),
    "a resolution of its own": lambda body: body["metadata"]["annotations"].update({names.RESOLUTION_ANNOTATION: "{}"}),
    "a name that is no text": lambda body: body["metadata"].update(generateName=["x"]),
    "a phase that is no text": lambda body: body.update(status={"phase": 1}),
    "no opt-in": lambda body: body["metadata"]["labels"].pop(names.INJECT_LABEL),
    "a selected label": lambda body: body["metadata"]["labels"].update(app="deploy"),
}
"""What decisions may read."""


def expanding(times: int) -> list[Body]:
    """Return variables of which the last has so many to the third characters."""
    texts = "x" * times, "$(A)" * times, "$(B)" * times
    return [{"name": name, "value": text} for name, text in zip("ABC", texts, strict=True)]


SELECTING = policy(
    "acme/p", effect=Effect.DENY, rules=(Rule("labelled", pod_selector=selector(app="deploy")),), secret_names=("aws",)
)


CONTROLLER = "system:serviceaccount:kube-system:job-controller"
CONTEXTS: list[Mapping[str, Any]] = [
    {},
    {"gate": True},
    {"settings": DecisionSettings(default_home="/home/x")},
    {"settings": DecisionSettings(Access.DENY)},
    {
        "issuers": (
            TrustedIssuer("ci", (Subject(SubjectKind.USER, CONTROLLER),), event=ClaimSource(SourceKind.VALUE, "e")),
        )
    },
]


def described_web() -> Inventory:
    return web(SELECTING, **{names.SECRETS_ANNOTATION: "aws?"})


@pytest.mark.parametrize("user", [CONTROLLER, "someone"])
def test_pods_of_all_shapes_side_by_side_are_decided_about_as_alone(user: str):
    request = {"userInfo": {"username": user, "groups": ["system:nodes"]}}
    known, bodies = described_web(), {"typical": pod()}
    for name, change in {**SAME, **DIFFERENT}.items():
        bodies[name] = pod()
        change(bodies[name])
    unsigned = {name: pod() for name in ("with an owner", "without an owner")}
    for name, body in unsigned.items():
        signed = signed_creator("alice", "web", review_context(known))
        body["metadata"]["annotations"][names.CREATOR_ANNOTATION] = signed
        if name == "without an owner":
            del body["metadata"]["ownerReferences"]
    for more in CONTEXTS * 2:
        for name, body in (bodies | unsigned).items():
            outcome = ask(MUTATE, body, review_context(known, **more), **request)

            alone = decide_alone(body, described_web, NOW, request=request, **more)
            assert outcome == alone, name
            assert described(outcome) == described(alone), name


@examples(6)
@given(
    store=stores(),
    jobs=st.lists(JOBS, min_size=2, max_size=4),
    changes=st.lists(st.one_of(definitions(), policies(), st.none()), max_size=4),
    steps=st.lists(st.integers(-2, 2), min_size=1, max_size=3),
    pods=st.lists(st.sampled_from([*SAME.values(), *DIFFERENT.values()]), max_size=2),
    settings=st.sampled_from([DecisionSettings(), DecisionSettings(Access.DENY, "/home/x")]),
    gate=st.booleans(),
)
def test_what_is_kept_changes_no_decision(
    store: Store,
    jobs: list[Job],
    changes: list[Definition | Policy | None],
    steps: list[int],
    pods: list[Callable[[Body], object]],
    settings: DecisionSettings,
    gate: bool,
):
    known = store.inventory()
    done: list[Definition | Policy | None] = []
    bodies = [(body_of(job), job.record.creator or "someone") for job in jobs]
    for change in pods:
        body = pod()
        change(body)
        bodies.append((body, "runner"))

    def fresh() -> Inventory:
        built = store.inventory()
        for each in done:
            put(built, each)
        return built

    for each in [None, *changes]:
        put(known, each)
        done.append(each)
        for seconds in steps:
            now = NOW + timedelta(seconds=seconds)
            for body, user in bodies * 2:
                request = {"userInfo": {"username": user}}
                given = {"settings": settings, "gate": gate, "issuers": (ISSUER,)}
                outcome = ask(MUTATE, body, review_context(known, now=now, **given), **request)

                alone = decide_alone(body, fresh, now, request=request, **given)
                assert outcome == alone
                assert described(outcome) == described(alone)


ISSUER = TrustedIssuer(
    "ci",
    (Subject(SubjectKind.USER, "runner"),),
    environment=ClaimSource(SourceKind.ANNOTATION, "ci/environment"),
    ref=ClaimSource(SourceKind.LABEL, "app"),
    event=ClaimSource(SourceKind.VALUE, "push"),
)


def body_of(job: Job) -> Body:
    body = job.body()
    del body["metadata"]["annotations"][names.CLAIMS_ANNOTATION]
    if job.record.environment:
        body["metadata"]["annotations"]["ci/environment"] = job.record.environment
    return body


def put(known: Inventory, change: Definition | Policy | None) -> None:
    match change:
        case Definition():
            known.put_definition(change, 1.0)
        case Policy():
            known.put_policy(change)
        case None:
            known.put_binding("solo", None, 1.0)


def test_a_policy_that_changes_is_in_force_at_once():
    known = web()
    for _ in range(2):
        permission(ask(MUTATE, pod(), review_context(known)))

    known.put_policy(policy("web/p", effect=Effect.DENY, rules=(Rule("all", namespaces=("web",)),)))
    known.put_policy(policy("acme/p", effect=Effect.DENY, rules=(Rule("all", namespaces=("web",)),)))

    assert refusal(ask(MUTATE, pod(), review_context(known))).reason == "PolicyDenied"

    known.remove_policy("acme/p")
    permission(ask(MUTATE, pod(), review_context(known)))


class Watched(datetime):
    """A time that remembers what it is compared with."""

    compared: ClassVar[set[datetime]] = set()

    def __ge__(self, other: object) -> bool:
        return self._compare(other, super().__ge__)

    def __gt__(self, other: object) -> bool:
        return self._compare(other, super().__gt__)

    def __le__(self, other: object) -> bool:
        return self._compare(other, super().__le__)

    def __lt__(self, other: object) -> bool:
        return self._compare(other, super().__lt__)

    def _compare(self, other: object, compare: Callable[[Any], bool]) -> bool:
        assert isinstance(other, datetime)
        self.compared.add(other)
        return compare(other)


@dataclasses.dataclass(frozen=True)
class WatchedDecision:
    """A decision about a job among definitions with former values, and the times that it compared with its own."""

    known: Inventory
    now: datetime
    decision: Granted | Denied
    compared: frozenset[datetime]


def watched_decision(store: Store, job: Job, seconds: int) -> WatchedDecision:
    def former(item: Definition, index: int) -> Definition:
        """Give a definition a former value of a variable."""
        ended = Entry.variable("OLD", PlainSource(b"old"), Previous("A", NOW + timedelta(seconds=index % 3)))
        return dataclasses.replace(item, env=(*item.env, ended), previous_end=(NOW + timedelta(seconds=index % 3),))

    known = store.inventory()
    for index, item in enumerate(store.definitions):
        known.put_definition(former(item, index), 1.0)
    now = NOW + timedelta(seconds=seconds)
    Watched.compared.clear()
    watched = Watched(*now.timetuple()[:6], tzinfo=UTC)
    decision = decide(parse_pod(job.body()), known, BASE, DecisionSettings(), watched)
    return WatchedDecision(known, now, decision, frozenset(Watched.compared))


# Most jobs are denied. Hypothesis draws again for a filter, while `assume` discards the example.
@examples(4)
@given(
    made=st.builds(watched_decision, stores(), JOBS, st.integers(-2, 2)).filter(
        lambda made: isinstance(made.decision, Granted)
    )
)
def test_decisions_compare_the_time_with_nothing_but_the_ends_of_their_period(made: WatchedDecision):
    assert isinstance(made.decision, Granted)

    period = decision_period(made.decision.grant.trail, made.known, made.now)

    assert period.includes(made.now)
    for moment in made.compared:
        assert moment <= made.now or (period.until is not None and period.until <= moment)
        assert moment > made.now or (period.since is not None and period.since >= moment)


@pytest.mark.parametrize("limit", ["a rule", "a definition"])
def test_what_ends_by_time_ends_for_known_pods(limit: str):
    end = NOW + timedelta(seconds=10)
    if limit == "a rule":
        rule = Rule("until", namespaces=("web",), not_after=end)
        known = web(policy("acme/p", effect=Effect.ALLOW, rules=(rule,)))
    else:
        known = inventory(home_and_project(), [dataclasses.replace(AWS, expires=end)])
    for seconds in (0, 9, 9):
        permission(ask(MUTATE, pod(), review_context(known, now=NOW + timedelta(seconds=seconds))))
    assert is_from_memory(ask(MUTATE, pod(), review_context(known, now=NOW)))

    assert refusal(ask(MUTATE, pod(), review_context(known, now=end))).reason in {"PolicyDenied", "Expired"}


def test_each_pod_has_the_name_of_its_own_bundle_and_its_own_record():
    known = web()
    bodies = []
    for number in range(3):
        body = pod()
        body["metadata"]["ownerReferences"][0]["uid"] = f"owner-{number}"
        user = {"username": "system:serviceaccount:kube-system:job-controller"}
        bodies.append(patched(body, ask(MUTATE, body, review_context(known), uid=f"r{number}", userInfo=user)))

    bundles = {str(body["spec"]["volumes"][-1]["projected"]["sources"][0]["secret"]["name"]) for body in bodies}
    assert len(bundles) == 3
    for number, body in enumerate(bodies):
        assert f"owner-{number}" in body["metadata"]["annotations"][names.CLAIMS_ANNOTATION]


def test_pods_that_are_kept_fill_no_more_than_their_room():
    known = web()
    for number in range(300):
        body = copy.deepcopy(pod())
        body["spec"]["containers"][0]["env"] += [{"name": f"V_{number}_{index}", "value": ""} for index in range(500)]
        ask(MUTATE, body, review_context(known))
        assert len(known.memo) <= 100_000
    big = pod()
    big["spec"]["containers"][0]["args"] = ["x" * 70_000]
    assert read_shape(big, "web") is None
    assert read_shape(pod(), "web") is not None


READ = {
    Pod: {
        "namespace", "labels", "annotations", "has_annotations", "service_account", "containers", "has_volumes",
        "volumes", "fs_group", "is_windows", "gates", "node", "unexpanded", "record",
    },
    Container: {
        "field", "index", "name", "has_env", "env", "env_from", "command", "args", "has_mounts", "mounts", "security",
    },
    Variable: {"name", "value", "secret", "key"},
    EnvFrom: {"kind", "name", "prefix"},
    Mount: {"volume", "path", "sub_path", "read_only"},
    Volume: {"name", "items", "source", "kind"},
    SecurityContext: {"user", "non_root"},
}  # fmt: skip
"""The fields that decisions read, all of which shapes or their keys consider."""
NOT_READ = {"name", "generate_name", "uid", "owner_uid", "phase", "is_deleting"}
"""The fields of a pod that decisions do not read; name and owner are in the bundle's name and in the record."""


@pytest.mark.parametrize("kind", READ, ids=lambda kind: kind.__name__)
def test_shapes_consider_every_field_of_a_pod(kind: type):
    fields = set(inspect.signature(kind).parameters)
    assert fields == READ[kind] | (NOT_READ if kind is Pod else set())


@pytest.mark.parametrize("namespace", NAMESPACES)
def test_pods_of_every_namespace_are_decided_about_as_alone(namespace: str):
    known = inventory(NAMESPACES, [AWS])
    body = pod()
    body["metadata"]["namespace"] = namespace
    for _ in range(2):
        outcome = ask(MUTATE, body, review_context(known))
        assert outcome == decide_alone(body, lambda: inventory(NAMESPACES, [AWS]), NOW)
