"""Judges the policies that deny: whether they are in force, and are those of this version (DESIGN section 9).

They are those of the guard, and the one about pods that opted in and were not injected, which is always installed.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from scoped_secrets.doctor.findings import Finding, Severity

__all__ = ["GUARD_VALUES", "GuardPolicy", "check_guard_policies", "decode_guard_policy"]

GUARD_VALUES: Final[Mapping[str, str]] = {
    "references": "guard.references.enabled",
    "accounts": "guard.serviceAccounts.enabled",
    "secrets": "guard.bundleSecrets.enabled",
    "statuses": "guard.statuses.enabled",
    "controller": "guard.controller.enabled",
    "specs": "guard.controller.enabled",
    "pods": "guard.pods.enabled",
    "gate": "gate.enabled",
}
"""The chart's value for each policy, by the end of the policy's name. The one about namespaces is off by default."""

# What values of the chart put into expressions: lists of namespaces, users and groups, and the controller's account.
_LIST: Final = re.compile(r"\[[^\[\]]*\]")
_TEXT: Final = re.compile(r"'system:serviceaccount:[^']*'|request\.namespace == '[^']*'")
_EXEMPT: Final = re.compile(
    r" \|\| request\.userInfo\.username in \[\]"
    r"| \|\| request\.userInfo\.\?groups\.orValue\(\[\]\)\.exists\(group, group in \[\]\)"
)


@dataclass(frozen=True, slots=True)
class GuardPolicy:
    """One policy of the guard, or the one about pods that were not injected.

    Attributes:
        name: The name of the policy and of its binding.
        value: The chart's value that turns it off; empty when none does.
        is_there: Whether the policy exists.
        is_bound: Whether the binding exists, denies, and is for everything, with the parameter that it needs.
        is_ours: Whether the policy says what this version ships, apart from what the chart's values change.
    """

    name: str
    value: str
    is_there: bool
    is_bound: bool = False
    is_ours: bool = False


def check_guard_policies(policies: tuple[GuardPolicy, ...]) -> Iterator[Finding]:
    """Check that each policy is in force as this version ships it."""
    for policy in policies:
        severity, end, again = _terms(policy)
        place = f"the ValidatingAdmissionPolicy '{policy.name}'{end}"
        if not policy.is_there:
            yield Finding(severity, f"{place} does not exist", again)
        elif not policy.is_bound:
            what = f"the ValidatingAdmissionPolicyBinding '{policy.name}'{end} does not exist or does not deny"
            yield Finding(severity, what, again)
        elif not policy.is_ours:
            yield Finding(
                severity,
                f"{place} differs from the one of this version",
                "install the policy of the version that runs, and find out who changed it",
            )


def _terms(policy: GuardPolicy) -> tuple[Severity, str, str]:
    """Return how bad a finding about the policy is, what follows the policy's name, and the remedy."""
    if not policy.value:
        return Severity.ERROR, "", "apply manifests/45-injected.yaml, or upgrade the release of the chart"
    again = f"apply manifests/70-guard.yaml, or set {policy.value} in the chart if you turned it off by mistake"
    return Severity.WARNING, " of the guard", again


def decode_guard_policy(
    name: str,
    value: str,
    shipped: Mapping[str, Any],
    policy: Mapping[str, Any] | None,
    binding: Mapping[str, Any] | None,
    *,
    param: str = "",
) -> GuardPolicy:
    """Return what is known of one policy.

    Args:
        name: Its name in the cluster.
        value: The chart's value that turns it off.
        shipped: The policy of this version.
        policy: The stored policy; ``None`` when it does not exist.
        binding: The stored binding; ``None`` when it does not exist.
        param: The object without which the binding denies everything; empty when there is none.
    """
    if policy is None:
        return GuardPolicy(name, value, is_there=False)
    return GuardPolicy(
        name,
        value,
        is_there=True,
        is_bound=binding is not None and _denies_everywhere(name, param, binding.get("spec") or {}),
        is_ours=_rules(policy["spec"]) == _rules(shipped["spec"]),
    )


def _denies_everywhere(name: str, param: str, spec: Mapping[str, Any]) -> bool:
    resources = spec.get("matchResources") or {}
    limits = (resources.get(field) for field in ("namespaceSelector", "objectSelector", "resourceRules"))
    excluded = resources.get("excludeResourceRules")
    is_bound = spec.get("policyName") == name and "Deny" in (spec.get("validationActions") or ())
    given = spec.get("paramRef") or {}
    has_param = (given.get("name"), given.get("parameterNotFoundAction")) == (param, "Deny") if param else not given
    return is_bound and not any(limits) and not excluded and has_param


def _rules(spec: Mapping[str, Any]) -> tuple[object, ...]:
    """Return what a policy decides, without defaults of the API server and without what the chart's values change."""
    constraints = spec.get("matchConstraints") or {}
    return (
        spec.get("failurePolicy"),
        spec.get("paramKind"),
        _namespaces(constraints.get("namespaceSelector") or {}),
        constraints.get("objectSelector") or None,
        constraints.get("excludeResourceRules") or None,
        [_resources(rule) for rule in constraints.get("resourceRules") or ()],
        *(_expressions(spec, field) for field in ("matchConditions", "variables", "validations")),
    )


def _namespaces(selector: Mapping[str, Any]) -> tuple[object, ...]:
    """Return a selector without the names of namespaces, which a value of the chart adds to."""
    terms = [(term.get("key"), term.get("operator")) for term in selector.get("matchExpressions") or ()]
    return terms, selector.get("matchLabels") or None


def _resources(rule: Mapping[str, Any]) -> tuple[object, ...]:
    fields = ("apiGroups", "apiVersions", "resources", "operations", "resourceNames")
    return (*(tuple(rule.get(field) or ()) for field in fields), rule.get("scope"))


def _expressions(spec: Mapping[str, Any], field: str) -> list[tuple[object, str]]:
    return [(each.get("name"), _normal(each["expression"])) for each in spec.get(field) or ()]


def _normal(expression: str) -> str:
    """Return an expression in which lists, accounts and the operator's namespace are not written out."""
    text = _TEXT.sub("''", _LIST.sub("[]", " ".join(str(expression).split())))
    return _EXEMPT.sub("", text)
