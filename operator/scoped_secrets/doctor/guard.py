"""Judges the guard: whether its policies are in force, and are those of this version (DESIGN section 9)."""

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
    "controller": "guard.controller.enabled",
    "pods": "guard.pods.enabled",
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
    """One policy of the guard.

    Attributes:
        name: The name of the policy and of its binding.
        value: The chart's value that turns it off.
        is_there: Whether the policy exists.
        is_bound: Whether the binding exists, denies, and is for everything.
        is_ours: Whether the policy says what this version ships, apart from what the chart's values change.
    """

    name: str
    value: str
    is_there: bool
    is_bound: bool = False
    is_ours: bool = False


def check_guard_policies(policies: tuple[GuardPolicy, ...]) -> Iterator[Finding]:
    """Check that each policy of the guard is in force as this version ships it."""
    for policy in policies:
        again = f"apply manifests/70-guard.yaml, or set {policy.value} in the chart if you turned it off by mistake"
        place = f"the ValidatingAdmissionPolicy '{policy.name}' of the guard"
        if not policy.is_there:
            yield Finding(Severity.WARNING, f"{place} does not exist", again)
        elif not policy.is_bound:
            what = f"the ValidatingAdmissionPolicyBinding '{policy.name}' of the guard does not exist or does not deny"
            yield Finding(Severity.WARNING, what, again)
        elif not policy.is_ours:
            yield Finding(
                Severity.WARNING,
                f"{place} differs from the one of this version",
                "install the policy of the version that runs, and find out who changed it",
            )


def decode_guard_policy(
    name: str,
    value: str,
    shipped: Mapping[str, Any],
    policy: Mapping[str, Any] | None,
    binding: Mapping[str, Any] | None,
) -> GuardPolicy:
    """Return what is known of one policy.

    Args:
        name: Its name in the cluster.
        value: The chart's value that turns it off.
        shipped: The policy of this version.
        policy: The stored policy; ``None`` when it does not exist.
        binding: The stored binding; ``None`` when it does not exist.
    """
    if policy is None:
        return GuardPolicy(name, value, is_there=False)
    return GuardPolicy(
        name,
        value,
        is_there=True,
        is_bound=binding is not None and _denies_everywhere(name, binding.get("spec") or {}),
        is_ours=_rules(policy["spec"]) == _rules(shipped["spec"]),
    )


def _denies_everywhere(name: str, spec: Mapping[str, Any]) -> bool:
    resources = spec.get("matchResources") or {}
    limits = (resources.get(field) for field in ("namespaceSelector", "objectSelector", "resourceRules"))
    excluded = resources.get("excludeResourceRules")
    is_bound = spec.get("policyName") == name and "Deny" in (spec.get("validationActions") or ())
    return is_bound and not any(limits) and not excluded and not spec.get("paramRef")


def _rules(spec: Mapping[str, Any]) -> tuple[object, ...]:
    """Return what a policy decides, without defaults of the API server and without what the chart's values change."""
    constraints = spec.get("matchConstraints") or {}
    limits = [constraints.get(field) or None for field in ("namespaceSelector", "objectSelector")]
    return (
        spec.get("failurePolicy"),
        *limits,
        constraints.get("excludeResourceRules") or None,
        [_resources(rule) for rule in constraints.get("resourceRules") or ()],
        *(_expressions(spec, field) for field in ("matchConditions", "variables", "validations")),
    )


def _resources(rule: Mapping[str, Any]) -> tuple[object, ...]:
    fields = ("apiGroups", "apiVersions", "resources", "operations", "resourceNames")
    return (*(tuple(rule.get(field) or ()) for field in fields), rule.get("scope"))


def _expressions(spec: Mapping[str, Any], field: str) -> list[tuple[object, str]]:
    return [(each.get("name"), _normal(each["expression"])) for each in spec.get(field) or ()]


def _normal(expression: str) -> str:
    """Return an expression in which lists, accounts and the operator's namespace are not written out."""
    text = _TEXT.sub("''", _LIST.sub("[]", " ".join(str(expression).split())))
    return _EXEMPT.sub("", text)
