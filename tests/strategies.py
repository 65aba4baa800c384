"""Hypothesis strategies: whole stores of definitions, policies and jobs over a small universe.

The universe is small so that things meet: names collide, patterns overlap, slots are taken twice. Whatever an
administrator or a tenant may write is in it, and so is what they may not write.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import product
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st

from scoped_secrets import names
from scoped_secrets.core.admission_record import AdmissionRecord
from scoped_secrets.core.inventory import Inventory
from scoped_secrets.core.policy.claims import Rule
from scoped_secrets.core.policy.policy import Effect, KeyConflict, Policy
from scoped_secrets.core.resolution.definitions import Attach, Definition, Override
from scoped_secrets.core.scope.slot import Scope
from scoped_secrets.names import Reason
from tests.support.builders import NOW, container, definition, inventory, pod_body, policy, scope_labels, selector


def examples(times: float, **more: Any) -> settings:
    """Return the settings of the loaded profile (see ``conftest.py``) with so many times its examples."""
    loaded = settings.default
    assert loaded is not None
    return settings(max_examples=max(1, int(loaded.max_examples * times)), **more)


# The universe

NAMESPACES: Mapping[str, Mapping[str, Mapping[str, str]]] = {
    "acme": {"labels": scope_labels("acme")},
    "web": {
        "labels": scope_labels("acme", "web"),
        "annotations": {
            names.ALLOW_ENVIRONMENTS_ANNOTATION: "production, review/*,",
            names.SECRETS_ANNOTATION: "shared?",
        },
    },
    "web-production": {"labels": scope_labels("acme", "web", "production")},
    "api": {
        "labels": scope_labels("acme", "api"),
        "annotations": {names.ALLOW_ENVIRONMENTS_ANNOTATION: "*", names.ALLOW_ATTACH_PATHS_ANNOTATION: "/etc"},
    },
    "api-staging": {
        "labels": scope_labels("acme", "api", "staging"),
        "annotations": {names.ALLOW_PROJECT_ATTACH_ANNOTATION: "true"},
    },
    "rival": {"labels": scope_labels("rival"), "annotations": {names.ALLOW_ATTACH_PATHS_ANNOTATION: "/etc/x,/opt"}},
    "rival-web": {"labels": scope_labels("rival", "web")},
    "solo": {"labels": scope_labels(None, "web")},
    "outside": {},
}
ENVIRONMENTS = ("production", "staging", "review/42")
PATTERNS = ("production", "prod*", "*", "*tion", "p*n", "review/*", "*/42", "review/42", "staging")
BUNDLES = ("aws", "db", "shared")
TIERS = ("gold", "tin")

# Where a definition may stand and what it says about itself: namespace, scope, project, environment.
Seat = tuple[str, Scope, str | None, str | None]
SEATS: Sequence[Seat] = (
    *(("acme", Scope.ORGANIZATION, None, None),) * 4,
    *(("web", Scope.PROJECT, None, None),) * 4,
    *(("web", Scope.ENVIRONMENT, None, pattern) for pattern in PATTERNS),
    *(("acme", Scope.ENVIRONMENT, "web", pattern) for pattern in PATTERNS[:4]),
    ("acme", Scope.PROJECT, "web", None),
    ("acme", Scope.PROJECT, "api", None),
    ("web", Scope.PROJECT, "web", None),
    ("web-production", Scope.ENVIRONMENT, None, "production"),
    ("api", Scope.PROJECT, None, None),
    ("api", Scope.ENVIRONMENT, None, "production"),
    ("api", Scope.ENVIRONMENT, None, "stag*"),
    ("api-staging", Scope.ENVIRONMENT, None, "staging"),
    ("rival", Scope.ORGANIZATION, None, None),
    ("rival", Scope.PROJECT, "web", None),
    ("rival-web", Scope.PROJECT, None, None),
    ("rival-web", Scope.ENVIRONMENT, None, "production"),
    ("solo", Scope.PROJECT, None, None),
    # Refused ones: a project that reaches for another one or for the organization, and namespaces without a path.
    ("web", Scope.PROJECT, "api", None),
    ("web", Scope.ORGANIZATION, None, None),
    ("web-production", Scope.PROJECT, None, None),
    ("web-production", Scope.ENVIRONMENT, None, "staging"),
    ("acme", Scope.PROJECT, None, None),
    ("outside", Scope.ORGANIZATION, None, None),
)
TRAITS = tuple(
    product(
        (Override.REPLACE, Override.REPLACE, Override.MERGE),
        (False, False, False, True),
        (Attach.ON_REFERENCE, Attach.ON_REFERENCE, Attach.ALWAYS),
    )
)
VARIABLES = ((), ("A",), ("A", "B"), ("B", "C"))
FILES = (
    (), (), (), (".ssh/id",), ("~/.ssh/../.ssh/id",), ("/etc//x", ".ssh/id"), ("/etc/./x",), ("/etc/x/y",),
    ("/proc/x",), ("=B",), ("=F", ".ssh/id=A"), (".ssh/id=F",),
)  # fmt: skip
FLAWS: Sequence[Mapping[str, Any]] = (
    *({},) * 12,
    {"expires": NOW},
    {"expires": NOW + timedelta(seconds=1)},
    {"not_ready": Reason.KEY_LOST},
)


def _entries(location: str, generation: int, keys: Sequence[str]) -> dict[str, str]:
    """Return entries whose values tell where they come from."""
    return {key: f"{location}@{generation}:{key}" for key in keys}


def _definition(
    seat: Seat,
    number: int,
    secret_name: str,
    traits: tuple[Override, bool, Attach],
    keys: tuple[Sequence[str], Sequence[str]],
    flaw: Mapping[str, Any],
    age: tuple[int, int],
    tier: str,
) -> Definition:
    namespace, scope, project, environment = seat
    override, final, attach = traits
    created, generation = age
    location = f"{namespace}/d{number}"
    return definition(
        location,
        generation=generation,
        created=f"2026-01-0{created}T00:00:00Z",
        secret_name=secret_name,
        scope=scope,
        project=project,
        environment=environment,
        labels={"tier": tier},
        override=override,
        final=final,
        attach=attach,
        env=_entries(location, generation, keys[0]),
        files=_entries(location, generation, keys[1]),
        **flaw,
    )


def definitions(seats: Sequence[Seat] = SEATS, bundles: Sequence[str] = BUNDLES) -> st.SearchStrategy[Definition]:
    """Return a strategy of single definitions; two of them may have one location."""
    return st.builds(
        _definition,
        seat=st.sampled_from(seats),
        number=st.integers(0, 5),
        secret_name=st.sampled_from(bundles),
        traits=st.sampled_from(TRAITS),
        keys=st.sampled_from(tuple(product(VARIABLES, FILES))),
        flaw=st.sampled_from(FLAWS),
        age=st.sampled_from(tuple(product((1, 2, 3), (1, 2)))),
        tier=st.sampled_from(TIERS),
    )


CLAIMS: Sequence[Mapping[str, Any]] = (
    {},
    {"projects": ("w*",)},
    {"projects": ("api", "web"), "environments": ("production",)},
    {"environments": ("prod*", "review/*")},
    {"namespaces": ("web",)},
    {"service_accounts": ("deployer",)},
    {"environments": ("staging",), "service_accounts": ("deployer",)},
    {"pod_selector": selector(app="deploy")},
    {"pod_selector": selector(app="deploy"), "namespaces": ("web", "api")},
    {"creators": ("runner", "alice")},
    {"refs": ("refs/heads/main", "refs/tags/v*")},
    {"refs": ("refs/heads/*", "refs/tags/*"), "events": ("push",)},
    {"events": ("push", "schedule"), "environments": ("production",), "service_accounts": ("deployer",)},
    {"not_before": NOW},
    {"not_before": NOW + timedelta(seconds=1)},
    {"not_after": NOW},
    {"not_after": NOW + timedelta(seconds=1), "namespaces": ("web", "api")},
)
RULES = tuple(Rule(name=f"rule-{number}", **claims) for number, claims in enumerate(CLAIMS))
POLICY_PLACES = ("acme", "acme", "web", "web", "api", "web-production", "rival", "rival-web", "outside")


def policies(effects: Sequence[Effect] = tuple(Effect)) -> st.SearchStrategy[Policy]:
    """Return a strategy of single policies; two of them may have one location."""
    return st.builds(
        lambda place, number, **given: policy(f"{place}/p{number}", **given),
        place=st.sampled_from(POLICY_PLACES),
        number=st.integers(0, 2),
        effect=st.sampled_from(effects),
        secret_names=st.sampled_from(((), ("aws",), ("d*", "x"), ("*s",), ("none",))),
        selector=st.sampled_from((None, None, selector(tier="gold"), selector(tier="gold", other="x"))),
        scopes=st.sampled_from(((), (), (Scope.ENVIRONMENT,), (Scope.PROJECT, Scope.ORGANIZATION))),
        rules=st.lists(st.sampled_from(RULES), max_size=2).map(tuple),
        key_conflict=st.sampled_from((*(KeyConflict.LAST_WINS,) * 5, KeyConflict.FAIL)),
        broken=st.sampled_from((False,) * 9 + (True,)),
    )


@dataclass(frozen=True)
class Job:
    """What decides about a job, before it is a pod's body."""

    namespace: str = "web"
    environment: str | None = None
    references: str = ""
    account: str = "default"
    labels: Mapping[str, str] = field(default_factory=dict)
    fails_on_conflict: bool = False
    own_variables: tuple[str, ...] = ()
    home: str | None = None
    mounts: tuple[str, ...] = ()
    record: AdmissionRecord = field(default_factory=AdmissionRecord)

    def body(self) -> dict[str, Any]:
        """Return the pod."""
        annotations = {names.SECRETS_ANNOTATION: self.references, names.CLAIMS_ANNOTATION: self.record.text()}
        if self.environment is not None:
            annotations[names.ENVIRONMENT_ANNOTATION] = self.environment
        if self.fails_on_conflict:
            annotations[names.KEY_CONFLICT_ANNOTATION] = KeyConflict.FAIL.value
        env = [{"name": name, "value": "own"} for name in self.own_variables]
        if self.home is not None:
            env.append({"name": "HOME", "value": self.home})
        fields: dict[str, Any] = {"env": env} if env else {}
        if self.mounts:
            fields["volumeMounts"] = [{"name": "own", "mountPath": path} for path in self.mounts]
        body = pod_body(
            namespace=self.namespace,
            annotations=annotations,
            containers=[container(**fields), container("second", command=["true"])],
            serviceAccountName=self.account,
        )
        body["metadata"]["labels"].update(self.labels)
        return body


REFERENCES = (
    "aws", "aws,db?", "db?, aws?", "aws?,db?,aws?", "aws?,db?", "db?,aws?,shared?", "shared?,aws?,db?", "aws?, aws",
    "db, aws?", "shared?", "", "none?, aws?", "none",
)  # fmt: skip

RECORDS = (
    *(AdmissionRecord(),) * 6,
    *(AdmissionRecord(creator=creator) for creator in ("runner", "other")),
    *(
        AdmissionRecord(creator="runner", issuer="ci", ref=ref, event=event)
        for ref in (
            "refs/heads/main",
            "refs/heads/main refs/tags/main",
            "refs/heads/refs/heads/main",
            "refs/tags/v1",
            "",
        )
        for event in ("push", "pull_request", "")
    ),
    *(AdmissionRecord(creator="runner", issuer="ci", project=project) for project in ("web", "api", "-")),
    *(
        AdmissionRecord(creator="runner", issuer="ci", environment=environment, vouched=vouched)
        for environment in ENVIRONMENTS
        for vouched in ("", "true")
    ),
)

JOBS: st.SearchStrategy[Job] = st.builds(
    Job,
    namespace=st.sampled_from(
        ("web",) * 14
        + ("web-production", "web-production", "api", "api-staging", "acme", "rival-web", "solo", "outside")
    ),
    environment=st.sampled_from((None, None, *("production",) * 4, "review/42", *ENVIRONMENTS)),
    references=st.sampled_from(REFERENCES),
    account=st.sampled_from(("default", "deployer")),
    labels=st.sampled_from(({}, {"app": "deploy"})),
    fails_on_conflict=st.sampled_from((False,) * 5 + (True,)),
    own_variables=st.sampled_from(((), (), (), ("A",), ("B", "Z"))),
    home=st.sampled_from((None, None, "/home/ci", "/root/")),
    mounts=st.sampled_from(((), (), (), ("/etc/x",), ("/root/.ssh/",), ("/data",))),
    record=st.sampled_from(RECORDS),
)


@dataclass(frozen=True)
class Store:
    """Everything that stands in a cluster."""

    definitions: tuple[Definition, ...]
    policies: tuple[Policy, ...] = ()

    def inventory(self) -> Inventory:
        """Return an inventory that was filled in this order."""
        return inventory(NAMESPACES, self.definitions, self.policies)


def stores(
    *,
    definition: st.SearchStrategy[Definition] | None = None,
    max_definitions: int = 9,
    max_policies: int = 3,
) -> st.SearchStrategy[Store]:
    """Return a strategy of whole stores with unique locations."""
    return st.builds(
        Store,
        st.lists(
            definitions() if definition is None else definition,
            min_size=min(3, max_definitions),
            max_size=max_definitions,
            unique_by=lambda item: item.location,
        ).map(tuple),
        st.lists(policies(), max_size=max_policies, unique_by=lambda item: item.location).map(tuple),
    )


PATTERN_TEXTS = st.text(alphabet="ab*/", max_size=7)
PLAIN_TEXTS = st.text(alphabet="ab/", max_size=7)
