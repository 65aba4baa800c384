"""DESIGN sections 3, 4 and 6 a second time, read from the text and written to be checked by eye, not to be fast.

It shares only data types with the core. What a job gets is told by values, as its container would see them.
"""

import posixpath
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import cmp_to_key

from tests.strategies import NAMESPACES, Job
from tests.support.builders import NOW

from scoped_secrets.core.policy.claims import Rule
from scoped_secrets.core.policy.policy import Policy
from scoped_secrets.core.resolution.definitions import Definition, PlainSource
from scoped_secrets.names import Reason

PREFIX = "scopedsecrets.dev/"
_namespaces: ContextVar[Mapping[str, Mapping[str, Mapping[str, str]]]] = ContextVar("namespaces", default=NAMESPACES)
SYSTEM = ("/proc", "/sys", "/dev", "/var/run/secrets/kubernetes.io", "/run/secrets/kubernetes.io")


@contextmanager
def world(namespaces: Mapping[str, Mapping[str, Mapping[str, str]]]) -> Iterator[None]:
    """Judge by other labels and annotations of namespaces than those of `tests.strategies`."""
    token = _namespaces.set(namespaces)
    try:
        yield
    finally:
        _namespaces.reset(token)


@dataclass
class Outcome:
    """What happens to a job."""

    refusals: set[Reason] = field(default_factory=set)
    """Everything that refuses it; it runs when there is none."""
    env: dict[str, str] = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=dict)
    overridden: dict[str, list[str]] = field(default_factory=dict)
    applied: list[str] = field(default_factory=list)
    left_out: set[tuple[str, Reason]] = field(default_factory=set)
    blocked: dict[str, list[str]] = field(default_factory=dict)


def is_match(pattern: str, text: str) -> bool:
    """Section 6: globs only, fully anchored; section 4: ``*`` does not cross ``/``."""
    expression = "[^/]*".join(re.escape(literal) for literal in pattern.split("*"))
    return re.fullmatch(expression, text, re.DOTALL) is not None


@dataclass(frozen=True)
class Place:
    """A scope path: that of a namespace, of a job, or of a definition."""

    organization: str
    project: str | None = None
    environment: str | None = None


def place_of_namespace(name: str) -> Place | None:
    """Section 3, the table."""
    metadata = _namespaces.get()[name]
    labels, annotations = metadata.get("labels", {}), metadata.get("annotations", {})
    organization, project = labels.get(f"{PREFIX}organization"), labels.get(f"{PREFIX}project")
    if not organization and not project:
        return None
    environment = labels.get(f"{PREFIX}environment") or annotations.get(f"{PREFIX}environment")
    return Place(organization or "default", project, environment if project else None)


def place_of_definition(definition: Definition) -> Place | None:
    """Section 3, "may define"; ``None`` for what its namespace may not define."""
    home = place_of_namespace(definition.namespace)
    if home is None:
        return None
    scope, project, environment = definition.scope.value, definition.project, definition.environment
    in_organization = home.project is None
    if in_organization:
        allowed = project is None if scope == "Organization" else project is not None
    elif home.environment is not None:
        allowed = scope == "Environment" and environment == home.environment and project in (None, home.project)
    else:
        allowed = scope != "Organization" and project in (None, home.project)
    if not allowed:
        return None
    if scope == "Organization":
        return Place(home.organization)
    return Place(home.organization, project or home.project, environment if scope == "Environment" else None)


def trust_of(definition: Definition) -> int:
    """Section 3: the home is trusted more than an environment's namespace, and that more than a project's."""
    home = place_of_namespace(definition.namespace)
    assert home is not None
    if home.project is None:
        return 3
    return 1 if home.environment is None else 2


def own_namespaces(job: Place) -> list[str]:
    """Return the namespaces of the environment of a job."""
    return [name for name in _namespaces.get() if job.environment is not None and place_of_namespace(name) == job]


def counts(definition: Definition, job: Place, *, is_referenced: bool) -> bool:
    """Section 3, the table: what counts for the jobs of an environment with namespaces of its own."""
    own = own_namespaces(job)
    if not own or trust_of(definition) != 1:
        return True
    if definition.scope.value == "Environment":
        return False
    consent = [
        _namespaces.get()[name].get("annotations", {}).get(f"{PREFIX}allow-project-attach") == "true" for name in own
    ]
    return is_referenced or all(consent)


def is_final(definition: Definition) -> bool:
    """Only the home says so."""
    return definition.final and trust_of(definition) == 3


# Rule A


def rank_comparison(one: Definition, other: Definition) -> int:
    """Rule A.3: positive when the first one ranks higher."""
    order = ["Organization", "Project", "Environment"]
    if one.scope != other.scope:
        return order.index(one.scope.value) - order.index(other.scope.value)
    if one.scope.value != "Environment":
        return 0
    a, b = one.environment or "", other.environment or ""
    criteria: list[Callable[[str], int]] = [
        lambda pattern: int("*" not in pattern),
        lambda pattern: len(pattern.split("*")[0]),
        lambda pattern: len(pattern.replace("*", "")),
        lambda pattern: -pattern.count("*"),
    ]
    for criterion in criteria:
        if criterion(a) != criterion(b):
            return criterion(a) - criterion(b)
    return (a < b) - (b < a)


def candidates(store: Iterable[Definition], name: str, job: Place, *, is_referenced: bool = True) -> list[Definition]:
    """Rules A.1 and A.2: from the highest rank to the lowest."""
    found: dict[object, Definition] = {}
    for definition in store:
        place = place_of_definition(definition)
        if place is None or definition.secret_name != name or place.organization != job.organization:
            continue
        if definition.scope.value != "Organization" and (job.project is None or place.project != job.project):
            continue
        if definition.scope.value == "Environment" and (
            job.environment is None or not is_match(place.environment or "", job.environment)
        ):
            continue
        if not counts(definition, job, is_referenced=is_referenced):
            continue
        slot = (place, definition.scope)
        rival = found.get(slot)
        if rival is None or seniority(definition) < seniority(rival):
            found[slot] = definition
    return sorted(found.values(), key=cmp_to_key(rank_comparison), reverse=True)


def seniority(definition: Definition) -> tuple[int, str, str]:
    """Rule A.1: trust, then age, then the name."""
    return -trust_of(definition), definition.created, definition.location


def contributors(ranked: list[Definition]) -> list[Definition]:
    """Rules A.4 and A.5: the winner first."""
    finals = [definition for definition in ranked if is_final(definition)]
    if finals:
        ranked = ranked[ranked.index(finals[-1]) :]
    winner, wider = ranked[0], ranked[1:]
    return [winner, *contributors_of_merge(wider)] if winner.override.value == "Merge" and wider else [winner]


def contributors_of_merge(wider: list[Definition]) -> list[Definition]:
    """Rule A.4, "recursively while each says Merge"."""
    first, rest = wider[0], wider[1:]
    return [first, *contributors_of_merge(rest)] if first.override.value == "Merge" and rest else [first]


def blocked(ranked: list[Definition]) -> list[str]:
    """Rule A.5: what is narrower than the widest final."""
    finals = [index for index, definition in enumerate(ranked) if is_final(definition)]
    return [definition.location for definition in ranked[: finals[-1]]] if finals else []


# Section 6


def rule_holds(rule: Rule, job: Job, path: Place, *, denies: bool = False) -> bool:
    """Claims within a rule = AND; a list within a claim = OR."""
    stated = job.record.project if job.record.project != "-" else ""
    claims: list[tuple[Sequence[str], str | None]] = [
        (rule.projects, path.project or stated or None),
        (rule.environments, path.environment),
        (rule.namespaces, job.namespace),
        (rule.service_accounts, job.account),
    ]
    for wanted, actual in claims:
        if wanted and (actual is None or not any(is_match(pattern, actual) for pattern in wanted)):
            return False
    if not issuers_claims_hold(rule, job, denies=denies):
        return False
    if rule.pod_selector is not None:
        labels = job.labels
        if any(labels.get(r.key) not in r.values for r in rule.pod_selector.requirements):
            return False
    return (rule.not_before is None or rule.not_before <= NOW) and (rule.not_after is None or rule.not_after > NOW)


def issuers_claims_hold(rule: Rule, job: Job, *, denies: bool) -> bool:
    """Section 6: what is not known allows nothing and excludes nothing from a denial."""
    record = job.record
    for wanted, actual in ((rule.creators, record.creator), (rule.events, record.event)):
        if wanted and not (actual in wanted if actual else denies):
            return False
    if not rule.refs:
        return True
    possible = [ref for ref in record.ref.split(" ") if ref]
    if not possible:
        return denies
    matching = [any(is_match(pattern, ref) for pattern in rule.refs) for ref in possible]
    return True in matching if denies else False not in matching


def allows(rule: Rule, job: Job, path: Place) -> bool:
    """Section 6: labels are no identity, so that a rule must ask for more."""
    others = (
        rule.projects,
        rule.environments,
        rule.namespaces,
        rule.service_accounts,
        rule.creators,
        rule.refs,
        rule.events,
    )
    return (rule.pod_selector is None or any(others)) and rule_holds(rule, job, path)


def governs(policy: Policy, definition: Definition) -> bool:
    """Tell whether a policy is over a definition's place and selects it."""
    over, place = place_of_namespace(policy.namespace), place_of_definition(definition)
    assert place is not None
    if over is None or over.organization != place.organization:
        return False
    if over.project is not None and policy.namespace != definition.namespace:
        return False
    if policy.secret_names and not any(is_match(pattern, definition.secret_name) for pattern in policy.secret_names):
        return False
    if policy.scopes and definition.scope not in policy.scopes:
        return False
    return policy.selector is None or all(
        definition.labels.get(r.key) in r.values for r in policy.selector.requirements
    )


def policy_denial(policies: Iterable[Policy], definition: Definition, job: Job, path: Place) -> Reason | None:
    """Return why policy denies a definition to a job; default access is AllowInScope."""
    over = [policy for policy in policies if governs(policy, definition)]
    if any(policy.broken for policy in over):
        return Reason.POLICY_ERROR
    for policy in over:
        denies = not policy.rules or any(rule_holds(rule, job, path, denies=True) for rule in policy.rules)
        if policy.effect.value == "Deny" and denies:
            return Reason.POLICY_DENIED
    allowing = [policy for policy in over if policy.effect.value == "Allow"]
    if allowing and not any(allows(rule, job, path) for policy in allowing for rule in policy.rules):
        return Reason.POLICY_DENIED
    return None


def environment_is_granted(policies: Iterable[Policy], job: Job, home: Place, environment: str) -> bool:
    """Section 3, the last paragraph: the namespace admits it, or a rule grants it to the account."""
    annotations = _namespaces.get()[job.namespace].get("annotations", {})
    admitted = annotations.get(f"{PREFIX}allow-environments", "").split(",")
    if any(pattern.strip() and is_match(pattern.strip(), environment) for pattern in admitted):
        return True
    path = Place(home.organization, home.project, environment)
    for policy in policies:
        over = place_of_namespace(policy.namespace)
        if over not in (Place(home.organization), path) or policy.broken or policy.effect.value != "Allow":
            continue
        for rule in policy.rules:
            names_both = rule.environments and rule.service_accounts and rule.pod_selector is None
            if names_both and rule_holds(rule, job, path):
                return True
    return False


# Rule B


def outcome(definitions: Sequence[Definition], policies: Sequence[Policy], job: Job) -> Outcome:
    """Decide about a job."""
    result = Outcome()
    path = path_of_job(policies, job, result)
    if path is None:
        return result
    ordered = application_order(definitions, job, path)
    used: list[Definition] = []
    bundles: list[tuple[str, list[Definition]]] = []
    for name, kind in ordered:
        ranked = candidates(definitions, name, path, is_referenced=kind != "attached")
        chain = contributors(ranked) if ranked else []
        reason = Reason.NOT_FOUND if not chain else None
        for definition in chain:
            reason = reason or policy_denial(policies, definition, job, path)
        if reason is not None:
            if kind == "mandatory":
                result.refusals.add(reason)
            else:
                result.left_out.add((name, reason))
            continue
        result.refusals |= {reason for definition in chain for reason in flaws(definition)}
        if kind == "attached" and not stays_in_bounds(chain, job, path):
            result.refusals.add(Reason.PATH_NOT_ALLOWED)
        used += chain
        bundles.append((name, chain))
        result.applied.append(name)
        if blocked(ranked):
            result.blocked[name] = blocked(ranked)
    strict = any(policy.key_conflict.value == "Fail" and governs(policy, d) for policy in policies for d in used)
    lay_out(bundles, job, result, is_strict=strict or job.fails_on_conflict)
    return result


def path_of_job(policies: Sequence[Policy], job: Job, result: Outcome) -> Place | None:
    """Section 3: project and organization from the namespace, environment from it or from the pod."""
    home = place_of_namespace(job.namespace)
    if home is None:
        result.refusals.add(Reason.NAMESPACE_OUTSIDE)
        return None
    record = job.record
    if record.project and home.project and record.project != home.project:
        result.refusals.add(Reason.PROJECT_NOT_ALLOWED)
        return None
    stated = record.environment if home.project else ""
    if job.environment and stated and job.environment != stated:
        result.refusals.add(Reason.ENVIRONMENT_NOT_ALLOWED)
        return None
    environment = job.environment or stated or None
    if environment in (None, home.environment):
        return home
    if home.environment is None and home.project is not None:
        assert environment is not None
        path = Place(home.organization, home.project, environment)
        is_vouched = record.vouched == "true" and stated == environment and not own_namespaces(path)
        if is_vouched or environment_is_granted(policies, job, home, environment):
            return path
    result.refusals.add(Reason.ENVIRONMENT_NOT_ALLOWED)
    return None


def application_order(definitions: Sequence[Definition], job: Job, path: Place) -> list[tuple[str, str]]:
    """Return the names in the order of rule B, each as mandatory, optional or attached."""
    annotations = _namespaces.get()[job.namespace].get("annotations", {})
    written = [*annotations.get(f"{PREFIX}secrets", "").split(","), *job.references.split(",")]
    references = [item.strip() for item in written if item.strip()]
    mandatory = {item for item in references if not item.endswith("?")}
    order: list[str] = []
    for name in reversed([item.removesuffix("?") for item in references]):
        if name not in order:
            order.insert(0, name)
    result = [(name, "mandatory" if name in mandatory else "optional") for name in order]
    attached: dict[str, list[tuple[str, str]]] = {"Organization": [], "Project": [], "Environment": []}
    for name in sorted({definition.secret_name for definition in definitions} - set(order)):
        ranked = candidates(definitions, name, path, is_referenced=False)
        winner = contributors(ranked)[0] if ranked else None
        if winner is not None and winner.attach.value == "Always":
            attached[winner.scope.value].append((name, "attached"))
    return attached["Organization"] + attached["Project"] + result + attached["Environment"]


def flaws(definition: Definition) -> Iterable[Reason]:
    """Sections 5 and 9: what refuses whoever uses it."""
    if definition.expires is not None and definition.expires <= NOW:
        yield Reason.EXPIRED
    if definition.not_ready is not None:
        yield Reason.NOT_READY


def stays_in_bounds(chain: list[Definition], job: Job, path: Place) -> bool:
    """Rule B: the files of an attached bundle are in the home directory, or where the home or the namespace allows."""
    homes = [name for name in _namespaces.get() if place_of_namespace(name) == Place(path.organization)]
    annotations = [_namespaces.get()[name].get("annotations", {}) for name in (*homes, job.namespace)]
    allowed = [text for each in annotations for text in each.get(f"{PREFIX}allow-attach-paths", "").split(",") if text]
    files = {file.name: file.path for definition in chain for file in definition.files}
    absolute_paths = [posixpath.normpath(text) for text in files.values() if text is not None and text.startswith("/")]
    return all(any(f"{text}/".startswith(f"{folder}/") for folder in allowed) for text in absolute_paths)


def text_of(entry_source: object) -> str:
    """Return the value of an entry of these tests."""
    assert isinstance(entry_source, PlainSource)
    return entry_source.data.decode()


def lay_out(bundles: list[tuple[str, list[Definition]]], job: Job, result: Outcome, *, is_strict: bool) -> None:
    """Rule B: later overwrites earlier, in the first container of the job."""
    holders: dict[str, list[str]] = {}
    for name, chain in bundles:
        lay_out_bundle(name, chain, job.home or "/root", result, holders)
    if is_strict and any(len(set(found)) > 1 for found in holders.values()):
        result.refusals.add(Reason.KEY_CONFLICT)
    result.overridden = {key: found[:-1] for key, found in holders.items() if len(found) > 1}
    for own in job.own_variables:
        result.env[own] = "own"
    if job.home is not None:
        result.env["HOME"] = job.home
    # The second container of a job has neither mounts nor a home of its own.
    for home, mounts in ((job.home or "/root", job.mounts), ("/root", ())):
        files = [file for _, chain in bundles for definition in chain for file in definition.files]
        paths = {absolute(file.path, home) for file in files if file.path is not None}
        if paths_clash(paths, [posixpath.normpath(mount) for mount in mounts]):
            result.refusals.add(Reason.PATH_CONFLICT)


def lay_out_bundle(
    bundle: str, chain: list[Definition], home: str, result: Outcome, holders: dict[str, list[str]]
) -> None:
    """Rule A.4 within one bundle: wider definitions first; a file that is overridden sets no variable."""
    last_files = {file.name: file for definition in reversed(chain) for file in definition.files}
    for definition in reversed(chain):
        for variable in definition.env:
            result.env[variable.name] = text_of(variable.source)
            note(holders, variable.name, bundle)
        for file in definition.files:
            location = f"/run/scoped-secrets/files/{bundle}.{file.env}"
            if file.path is not None:
                location = absolute(file.path, home)
                result.files[location] = text_of(file.source)
                note(holders, location, bundle)
            if file.env is not None and last_files[file.name] is file:
                result.env[file.env] = location
                note(holders, file.env, bundle)


def note(holders: Mapping[str, list[str]] | dict[str, list[str]], key: str, bundle: str) -> None:
    """Remember that a bundle holds a key; the last one holds it at last."""
    assert isinstance(holders, dict)
    found = holders.setdefault(key, [])
    if bundle in found:
        found.remove(bundle)
    found.append(bundle)


def absolute(path: str, home: str) -> str:
    """Resolve a path; the paths of these tests never leave the root."""
    return posixpath.normpath(posixpath.join(home, path.removeprefix("~/")))


def paths_clash(paths: set[str], mounts: list[str]) -> bool:
    """Rule B, "Refused:"; a mount below a file is as impossible as a file below one."""
    others = [*paths, *mounts]
    return any(
        path in mounts
        or any(other.startswith(f"{path}/") for other in others)
        or any(f"{path}/".startswith(f"{directory}/") for directory in SYSTEM)
        for path in paths
    )
