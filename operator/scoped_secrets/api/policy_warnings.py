"""What the author of a SecretPolicy may not expect: the policy is valid, and admission and `lint` warn of it."""

from collections.abc import Iterator, Sequence

from scoped_secrets.api.secretpolicy import SecretPolicySpec
from scoped_secrets.core.policy.claims import Rule
from scoped_secrets.core.policy.issuers import TrustedIssuer
from scoped_secrets.core.policy.policy import Effect

__all__ = ["rule_warnings", "session_warnings"]


def rule_warnings(effect: Effect, rules: Sequence[Rule], issuers: Sequence[TrustedIssuer] | None) -> Iterator[str]:
    """Yield what the author of rules may not expect of their claims.

    Args:
        effect: The effect of the policy.
        rules: Its rules.
        issuers: The trusted issuers; ``None`` when they are not known.
    """
    for index, rule in enumerate(rules):
        if effect is Effect.ALLOW and rule.has_only_self_made_claims:
            yield (
                f"`spec.rules[{index}]` matches no job: a pod's author writes its labels, so that `podSelector` only "
                "narrows other claims; add `serviceAccounts`, `namespaces`, `creators` or another claim"
            )
        for name, claim, is_stated in (
            ("refs", rule.refs, issuers is None or any(issuer.ref for issuer in issuers)),
            ("events", rule.events, issuers is None or any(issuer.event for issuer in issuers)),
        ):
            if claim and not is_stated:
                what = "matches no job" if effect is Effect.ALLOW else f"matches jobs of all {name}"
                yield (
                    f"`spec.rules[{index}].{name}` {what} now, because no trusted issuer states {name}; ask an "
                    "administrator to configure one (in the chart `trustedIssuers`)"
                )


def session_warnings(spec: SecretPolicySpec) -> Iterator[str]:
    """Yield what the author of rules about sessions may not expect."""
    interactive = spec.interactive
    if interactive is None:
        return
    denied = [name for name in ("exec", "attach") if getattr(interactive, name) is Effect.DENY]
    if denied and not interactive.exempt_subjects:
        yield (
            f"`spec.interactive` denies {' and '.join(denied)} to everyone: a CI engine that drives its pods this way "
            "(GitLab Runner, ARC, Jenkins) needs its service account in `spec.interactive.exemptSubjects`"
        )
    if not spec.rules:
        what = "allows" if spec.effect is Effect.ALLOW else "denies"
        whom = "no job" if spec.effect is Effect.ALLOW else "every job"
        yield (
            f"the policy has no rules, so that it {what} {whom}; to restrict sessions only, write `effect: Deny` with "
            "a rule that matches no job"
        )
