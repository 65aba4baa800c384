"""Interprets the API server's answer to a pod that is created as a dry run.

Only this check covers the whole path: the API server finds the Service, trusts the certificate, gets an answer in time,
and the answer is correct.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from scoped_secrets import names
from scoped_secrets.doctor.facts import Facts, Injected, Injection, Unreadable
from scoped_secrets.doctor.findings import Finding, Severity
from scoped_secrets.names import Reason

__all__ = ["check_injection", "read_answer", "trial_pod"]

_CREATED: Final = 201
_DENIED: Final = re.compile(r'admission webhook "([^"]+)" denied the request(?:: ([A-Za-z]+):)?')
_FAILED: Final = re.compile(r'failed calling webhook "([^"]+)"')
_REFUSED: Final = re.compile(r"ValidatingAdmissionPolicy '([^']+)-injected' with binding '\1-injected'")

# Words in the API server's message, and their meaning. The message itself may quote addresses and is not repeated.
_WHY: Final = (
    ("x509", "it does not trust the certificate"),
    ("tls:", "TLS failed"),
    ("no endpoints", "no pod of the admission server is ready"),
    ("connection refused", "nothing listens there"),
    ("deadline exceeded", "there was no answer in time, for example because of a firewall"),
    ("timeout", "there was no answer in time, for example because of a firewall"),
    ("not found", "the Service does not exist"),
)


def check_injection(facts: Facts) -> Iterator[Finding]:
    """Check that a pod that opts in gets its volume."""
    injection = facts.injection
    if isinstance(injection, Unreadable):
        why = f"needs {injection.needs}" if injection.needs else injection.failure
        yield Finding(
            Severity.UNCHECKED,
            f"the injection of a pod: not checked: {why}",
            "ask for that right, or name another namespace with --namespace",
        )
        return
    place = f"a pod with the label {names.INJECT_LABEL} in namespace '{injection.namespace}'"
    match injection.outcome:
        case Injected.YES:
            return
        case Injected.NO:
            yield Finding(
                Severity.ERROR,
                f"{place} would be created without its secrets",
                "install the webhook configurations again; they exclude kube-system and the operator's namespace",
            )
        case Injected.REFUSED:
            yield Finding(
                Severity.ERROR,
                f"{place} is denied because no webhook of the operator injects it",
                "install the MutatingWebhookConfiguration again; its webhook must cover the namespace and answer",
            )
        case Injected.NOT_ANSWERED:
            yield Finding(
                Severity.ERROR,
                f"the API server cannot call the webhook for {place}: {injection.reason}",
                "see the pods, the Service and the NetworkPolicies of the admission server",
            )
        case Injected.STOPPED:
            yield Finding(
                Severity.UNCHECKED,
                f"{place} is denied by another component: {injection.reason}",
                "name another namespace with --namespace",
            )
        case Injected.DENIED:
            # Without a chosen namespace, one without a scope path is enough: a denial shows that admission answers.
            if injection.reason != Reason.NAMESPACE_OUTSIDE or injection.is_chosen:
                yield _denied(injection, place)


def _denied(injection: Injection, place: str) -> Finding:
    failures = {Reason.INTERNAL_ERROR, Reason.NOT_SYNCHRONIZED, Reason.NOT_INJECTED}
    is_failure = injection.reason in failures
    return Finding(
        Severity.ERROR if is_failure else Severity.WARNING,
        f"{place} is denied with reason {injection.reason}",
        "see the log of the admission server" if is_failure else "name a namespace with a scope path with --namespace",
    )


def trial_pod(name: str) -> dict[str, Any]:
    """Return a pod that opts in and names nothing; it fits the restricted profile and any quota that leaves room."""
    least = {"cpu": "1m", "memory": "1Mi"}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": {names.INJECT_LABEL: names.INJECT_VALUE}},
        "spec": {
            "restartPolicy": "Never",
            "automountServiceAccountToken": False,
            "securityContext": {
                "runAsNonRoot": True,
                "runAsUser": 65532,
                "runAsGroup": 65532,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "containers": [
                {
                    "name": "none",
                    "image": "none",
                    "env": [{"name": "HOME", "value": "/tmp"}],  # noqa: S108 - a home, and no file is made
                    "resources": {"requests": least, "limits": least},
                    "securityContext": {
                        "allowPrivilegeEscalation": False,
                        "readOnlyRootFilesystem": True,
                        "capabilities": {"drop": ["ALL"]},
                    },
                }
            ],
        },
    }


def read_answer(
    namespace: str, status: int, body: Mapping[str, Any], *, is_chosen: bool = False
) -> Injection | Unreadable:
    """Return what the API server's answer to the creation of a test pod means.

    Args:
        namespace: Where it was created.
        status: The HTTP status.
        body: The pod, or a Status.
        is_chosen: Whether a person chose the namespace.
    """
    if status == _CREATED:
        volumes = ((body.get("spec") or {}).get("volumes")) or []
        has_ours = any(volume.get("name") == names.VOLUME_NAME for volume in volumes)
        return Injection(namespace, Injected.YES if has_ours else Injected.NO, is_chosen=is_chosen)
    message = str(body.get("message") or "")
    denied, failed = _DENIED.search(message), _FAILED.search(message)
    if denied is not None and denied[1].endswith(f".{names.GROUP}"):
        return Injection(namespace, Injected.DENIED, denied[2] or "", is_chosen=is_chosen)
    if failed is not None and failed[1].endswith(f".{names.GROUP}"):
        why = next((words for sign, words in _WHY if sign in message), "it gives no known reason")
        return Injection(namespace, Injected.NOT_ANSWERED, why, is_chosen=is_chosen)
    if _REFUSED.search(message):
        return Injection(namespace, Injected.REFUSED, is_chosen=is_chosen)
    if "cannot create resource" in message:
        return Unreadable(needs=f"create on pods in namespace '{namespace}'")
    other = denied or failed
    reason = f"the webhook '{other[1]}'" if other is not None else _why_stopped(status, message)
    return Injection(namespace, Injected.STOPPED, reason, is_chosen=is_chosen)


def _why_stopped(status: int, message: str) -> str:
    if "exceeded quota" in message or "must specify limits" in message:
        return "a quota of the namespace"
    if "violates PodSecurity" in message:
        return "the Pod Security level of the namespace"
    if "serviceaccount" in message:
        return "the namespace has no ServiceAccount 'default' yet"
    return f"the API server answers {status}"
