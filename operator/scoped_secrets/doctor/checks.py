"""The checks: facts in, findings out, in the order in which people should read the findings.

A check reports what is missing or wrong, and reports what could not be read as unchecked. It guesses nothing.
"""

import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from math import ceil
from typing import Final, TypeAlias

from scoped_secrets import names
from scoped_secrets.doctor.facts import (
    Facts,
    Hook,
    Hooks,
    NamespaceLabels,
    Reach,
    Readiness,
    Unreadable,
    Workload,
)
from scoped_secrets.doctor.findings import Finding, Severity
from scoped_secrets.doctor.guard import check_guard_policies
from scoped_secrets.doctor.injection import check_injection
from scoped_secrets.doctor.opt_in import check_opt_in
from scoped_secrets.messages import quoted_names
from scoped_secrets.names import Reason

__all__ = ["CHECKS", "MINIMUM_MINOR", "Check", "examine"]

Check: TypeAlias = Callable[[Facts], Iterator[Finding]]

MINIMUM_MINOR: Final = 31
"""The oldest Kubernetes 1.x in which `selectableFields` of CRDs are enabled by default."""

_COMPONENTS: Final = ("controller", "admission")
_RELEASE: Final = re.compile(r"v?(\d+\.\d+\.\d+[^@]*)")
_LEASE_TOLERANCE: Final = 60.0
"""Seconds that this machine's clock may differ from the leader's."""
_CERTIFICATE_SOON: Final = timedelta(days=14)
_STATUS_SECONDS: Final = 60.0
"""Age of an object after which the controller should have written its status."""
_NAMED: Final = 5

_ERROR, _WARNING = Severity.ERROR, Severity.WARNING


def examine(facts: Facts) -> Mapping[str, tuple[Finding, ...]]:
    """Return the findings of each check, by the name of the check."""
    return {name: tuple(check(facts)) for name, check in CHECKS.items()}


def check_versions(facts: Facts) -> Iterator[Finding]:
    """Check that the API server is recent enough and that the processes have the version of this program."""
    server = facts.server
    if isinstance(server, Unreadable):
        yield _unread("the version of the API server", server)
    elif (server.major, server.minor) < (1, MINIMUM_MINOR):
        yield Finding(
            _ERROR,
            f"the API server is Kubernetes {server.major}.{server.minor}",
            f"upgrade the cluster to 1.{MINIMUM_MINOR} or newer",
        )
    for component in _COMPONENTS:
        workload = facts.workload(component)
        release = None if workload is None else _release(workload.image)
        if release is not None and release != facts.version:
            yield Finding(
                _WARNING,
                f"the {component} is version {release}, and this program is {facts.version}",
                "use the program of the version that is installed, or finish the upgrade",
            )


def check_crds(facts: Facts) -> Iterator[Finding]:
    """Check that both kinds are served, with the schema of this version."""
    if isinstance(facts.crds, Unreadable):
        yield _unread("the CRDs", facts.crds)
        return
    for crd in facts.crds:
        if not crd.is_there:
            yield Finding(_ERROR, f"the CRD '{crd.name}' does not exist", "apply the folder crds/ of this version")
        elif not crd.is_established:
            yield Finding(
                _ERROR,
                f"the CRD '{crd.name}' is not Established",
                f"see the conditions that `kubectl describe crd {crd.name}` shows",
            )
        elif not crd.is_ours:
            yield Finding(
                _WARNING,
                f"the CRD '{crd.name}' has another schema than version {facts.version}",
                "apply the folder crds/ of the version that is installed",
            )


def check_workloads(facts: Facts) -> Iterator[Finding]:
    """Check that both Deployments exist, are ready and are rolled out."""
    if isinstance(facts.workloads, Unreadable):
        yield _unread("the Deployments", facts.workloads)
        return
    for component in _COMPONENTS:
        workload = facts.workload(component)
        if workload is None:
            yield Finding(
                _ERROR,
                f"there is no Deployment of the {component} in namespace '{facts.namespace}'",
                "install the operator, or name its namespace with --operator-namespace",
            )
        else:
            yield from _check_workload(workload, facts.namespace)


def check_lease(facts: Facts) -> Iterator[Finding]:
    """Check that a controller leads and renews its Lease."""
    lease = facts.lease
    if isinstance(lease, Unreadable):
        yield _unread("the Lease", lease)
    elif lease is None or not lease.holder:
        yield Finding(
            _ERROR,
            f"no controller holds the Lease '{facts.namespace}/{names.LEASE_NAME}'",
            "see the controller's log; the controller leads after it has read all objects",
        )
    elif lease.age > lease.duration + _LEASE_TOLERANCE:
        yield Finding(
            _ERROR,
            f"the Lease '{facts.namespace}/{names.LEASE_NAME}' was renewed {ceil(lease.age)} seconds ago",
            "check the controller's pods and logs, and the clock of this machine",
        )


def check_webhooks(facts: Facts) -> Iterator[Finding]:
    """Check that both configurations have the webhooks that this version ships, with a caBundle."""
    for hooks in facts.hooks:
        if isinstance(hooks, Unreadable):
            yield _unread("a webhook configuration", hooks)
        elif hooks.webhooks is None:
            yield Finding(
                _ERROR,
                f"the {hooks.kind} '{hooks.name}' does not exist",
                "install it again; until then pods start without their secrets, and values are stored unsealed",
            )
        else:
            yield from _check_hooks(hooks, _shipped(facts, hooks.kind), facts.now)


def check_guard(facts: Facts) -> Iterator[Finding]:
    """Check that the policies of the guard are in force."""
    if isinstance(facts.guard, Unreadable):
        yield _unread("the policies of the guard", facts.guard)
    else:
        yield from check_guard_policies(facts.guard)


def check_certificate(facts: Facts) -> Iterator[Finding]:
    """Check that the caBundle trusts the certificate of the admission server, and that it does not expire soon."""
    served = facts.served
    if served is None:
        return
    match served.reach:
        case Reach.UNREACHABLE:
            yield Finding(
                Severity.UNCHECKED,
                f"the certificate of the admission server is not checked: {served.address} cannot be reached from here",
                "run this in a pod of the cluster; the check injection shows whether the API server trusts it",
            )
        case Reach.UNTRUSTED:
            yield Finding(
                _ERROR,
                f"the caBundle does not trust the certificate that {served.address} serves: {served.problem}",
                "wait a minute for the controller to repair it, then see its log for 'certificates'",
            )
        case Reach.TRUSTED if served.end is not None and served.end - facts.now < _CERTIFICATE_SOON:
            days = (served.end - facts.now).days
            yield Finding(
                _WARNING,
                f"the certificate that {served.address} serves expires in {days} days",
                "check why it is not renewed, in the controller's log or with the issuer of the certificate",
            )


def check_keys(facts: Facts) -> Iterator[Finding]:
    """Check that the public key is published, is the one that admission seals for, and is rotated."""
    published = facts.published
    place = f"the ConfigMap '{facts.namespace}/{names.CERTIFICATE_CONFIG_MAP}'"
    if isinstance(published, Unreadable):
        yield _unread(place, published)
        return
    if not published.is_there or published.key_created is None:
        what = "holds no sealing certificate" if published.is_there else "does not exist"
        yield Finding(_ERROR, f"{place} {what}", "see the controller's log; the leader writes it")
        return
    if facts.served is not None and facts.served.checksum not in ("", published.checksum):
        yield Finding(
            _WARNING,
            f"{place} holds other keys than those that admission seals for",
            "wait a minute for the new keys to reach admission; then see the controller's log for 'keys'",
        )
    days = _number(facts.flag("controller", "--key-rotation-days", "30"))
    age = (facts.now - published.key_created) / timedelta(days=1)
    if days and age > 2 * days:
        yield Finding(
            _WARNING,
            f"the sealing key is {int(age)} days old; it should be rotated after {days:g} days",
            "see the controller's log for 'keys', or rotate it with `kubectl scoped-secrets keys rotate`",
        )


def check_rights(facts: Facts) -> Iterator[Finding]:
    """Check that both ServiceAccounts have the rights of the shipped roles."""
    if isinstance(facts.rights, Unreadable):
        yield _unread("the rights of the ServiceAccounts", facts.rights)
        return
    for answer in facts.rights:
        if not answer.is_allowed:
            yield Finding(
                _ERROR,
                f"the ServiceAccount '{facts.namespace}/{answer.account}' lacks {answer.right}",
                "apply the roles of this version",
            )


def check_namespaces(facts: Facts) -> Iterator[Finding]:
    """Check that the labels of namespaces make a scope path."""
    if isinstance(facts.namespaces, Unreadable):
        yield _unread("the namespaces", facts.namespaces)
        return
    has_organizations = any(namespace.organization for namespace in facts.namespaces)
    for namespace in facts.namespaces:
        for message, remedy in _label_problems(namespace, facts.default_organization, is_named=has_organizations):
            yield Finding(_WARNING, f"namespace '{namespace.name}' {message}", remedy)


def check_objects(facts: Facts) -> Iterator[Finding]:
    """Check that definitions and policies are Ready, and that the controller has observed them."""
    for objects in facts.objects:
        if isinstance(objects, Unreadable):
            yield _unread("ScopedSecrets or SecretPolicies", objects)
            continue
        by_reason: dict[tuple[str, str], list[str]] = defaultdict(list)
        for each in objects:
            if each.reason and each.is_observed:
                by_reason[each.kind, each.reason].append(each.location)
        for (kind, reason), locations in sorted(by_reason.items()):
            yield Finding(
                _ERROR if reason == Reason.KEY_LOST else _WARNING,
                f"{_count(locations, kind)} not Ready, with reason {reason}: {quoted_names(locations, _NAMED)}",
                "see the message of the condition Ready, which names the remedy",
            )
        unseen = [each for each in objects if not each.is_observed and each.age > _STATUS_SECONDS]
        if unseen:
            yield _unobserved(unseen)


CHECKS: Final[Mapping[str, Check]] = {
    "versions": check_versions,
    "crds": check_crds,
    "workloads": check_workloads,
    "lease": check_lease,
    "webhooks": check_webhooks,
    "guard": check_guard,
    "certificate": check_certificate,
    "injection": check_injection,
    "keys": check_keys,
    "rights": check_rights,
    "namespaces": check_namespaces,
    "objects": check_objects,
    "opt-in": check_opt_in,
}


def _unread(what: str, unreadable: Unreadable) -> Finding:
    if unreadable.needs:
        return Finding(
            Severity.UNCHECKED,
            f"{what}: not checked: needs {unreadable.needs}",
            "ask for that right, or ask a user who has it to run this",
        )
    return Finding(Severity.UNCHECKED, f"{what}: not checked: {unreadable.failure}", "run this again")


def _check_workload(workload: Workload, namespace: str) -> Iterator[Finding]:
    place = f"the Deployment '{namespace}/{workload.name}'"
    describe = f"see `kubectl -n {namespace} describe pods` and the logs of its pods"
    if not workload.wanted:
        yield Finding(_ERROR, f"{place} is scaled to 0", "scale it to at least 1")
    elif not workload.ready:
        yield Finding(_ERROR, f"{place} has no ready pod", describe)
    elif workload.ready < workload.wanted:
        yield Finding(_WARNING, f"{place} has {workload.ready} ready pods of {workload.wanted}", describe)
    elif not workload.is_rolled_out:
        yield Finding(_WARNING, f"{place} is being rolled out", "run this again when the roll-out has finished")


def _shipped(facts: Facts, kind: str) -> tuple[Hook, ...]:
    """Return the webhooks that this version ships in the configuration of a kind."""
    return next((hooks.webhooks for hooks in facts.shipped_hooks if hooks.kind == kind), None) or ()


def _check_hooks(hooks: Hooks, shipped: Sequence[Hook], now: datetime) -> Iterator[Finding]:
    place = f"the {hooks.kind} '{hooks.name}'"
    found = {hook.name: hook for hook in hooks.webhooks or ()}
    for ours in shipped:
        hook = found.get(ours.name)
        if hook is None:
            yield Finding(
                _ERROR, f"{place} lacks the webhook '{ours.name}'", "install the configuration of this version"
            )
        else:
            yield from _check_hook(hook, ours, f"the webhook '{ours.name}' of {place}", now)


def _check_hook(hook: Hook, shipped: Hook, place: str, now: datetime) -> Iterator[Finding]:
    again = "install the configuration of this version"
    if hook.path != shipped.path:
        yield Finding(_ERROR, f"{place} is not called at {shipped.path}", again)
    if shipped.is_strict and not hook.is_strict:
        yield Finding(
            _WARNING,
            f"{place} has failurePolicy Ignore, so that requests pass unchecked while it does not answer",
            "set failurePolicy to Fail",
        )
    if shipped.is_selective and not hook.is_selective:
        yield Finding(_WARNING, f"{place} receives pods that did not opt in, and can delay them", again)
    if not hook.has_bundle:
        yield Finding(
            _ERROR,
            f"{place} has no caBundle, so that the API server trusts no answer",
            "see the controller's log for 'certificates', or the log of the program that writes the caBundle",
        )
    elif hook.bundle_end is None or hook.bundle_end <= now:
        what = "holds no certificate" if hook.bundle_end is None else f"expired on {hook.bundle_end:%Y-%m-%d}"
        yield Finding(_ERROR, f"{place} has a caBundle that {what}", "remove it; the controller writes it again")


def _label_problems(namespace: NamespaceLabels, default: str, *, is_named: bool) -> Iterator[tuple[str, str]]:
    """Yield each problem with the labels of a namespace, and its remedy."""
    labels = {
        names.ORGANIZATION_LABEL: namespace.organization,
        names.PROJECT_LABEL: namespace.project,
        names.ENVIRONMENT_LABEL: namespace.environment,
    }
    empty = [label for label, value in labels.items() if value == ""]
    if empty:
        yield f"has an empty label {empty[0]}, so that it has no scope path", "give the label a value, or remove it"
        return
    if namespace.project is None:
        if namespace.environment is not None:
            yield (
                f"has {names.ENVIRONMENT_LABEL} and no {names.PROJECT_LABEL}, so that this has no effect",
                f"add the label {names.PROJECT_LABEL}, or remove the other label",
            )
        if namespace.allows_environments:
            yield (
                f"has {names.ALLOW_ENVIRONMENTS_ANNOTATION} and no {names.PROJECT_LABEL}, so that this has no effect",
                f"add the label {names.PROJECT_LABEL}, or remove the annotation",
            )
    elif namespace.organization is None and is_named:
        missing = f"has {names.PROJECT_LABEL} and no {names.ORGANIZATION_LABEL}"
        yield (
            f"{missing}, so that it belongs to '{default}', while other namespaces name their organization",
            f"add the label {names.ORGANIZATION_LABEL}",
        )


def _unobserved(unseen: Sequence[Readiness]) -> Finding:
    locations = quoted_names((each.location for each in unseen), _NAMED)
    return Finding(
        _WARNING,
        f"the controller has not observed the latest generation of {len(unseen)} of kind {unseen[0].kind}: {locations}",
        "see the controller's log and the check lease",
    )


def _count(locations: Sequence[str], kind: str) -> str:
    return f"1 {kind} is" if len(locations) == 1 else f"{len(locations)} of kind {kind} are"


def _release(image: str) -> str | None:
    """Return the version in an image's tag, ``None`` when there is no tag or it is not a version."""
    tag = image.rpartition("/")[2].partition("@")[0].partition(":")[2]
    found = _RELEASE.fullmatch(tag)
    return None if found is None else found[1]


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return 0.0
