"""Every right of the shipped roles is needed by something that the operator does, and nothing that it does lacks one.

One test does everything once for which there is a right, and then reads the API server's audit log. So a rule that no
code needs any more is found, and so is code without its rule.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from http import HTTPStatus
from typing import TYPE_CHECKING

import pytest

from scoped_secrets import names
from scoped_secrets.doctor.rights import parse_roles
from scoped_secrets.shipped_manifests import ROLES_MANIFEST, read_manifest
from tests.cluster.processes import wait_until
from tests.integration.console import SECONDS, named_secrets, pod, scoped_secret, secret_policy
from tests.integration.native_secrets import key_of, native
from tests.support.installed import ADMISSION_USER, CONTROLLER_USER

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from tests.integration.company import Company
    from tests.integration.console import Console
    from tests.support.audit_log import AuditLog, Call
    from tests.support.canary import Canary
    from tests.support.installed import InstalledOperator

pytestmark = pytest.mark.integration

HOME = names.DEFAULT_NAMESPACE
ROLES = (ROLES_MANIFEST, "optional/value-from.yaml")
USERS = {"controller": CONTROLLER_USER, "admission": ADMISSION_USER}


@dataclass(frozen=True, slots=True)
class Right:
    """One verb on one resource, of one of our accounts."""

    user: str
    verb: str
    resource: str
    name: str
    """The only object that it is about; empty for all."""
    namespace: str
    """The only namespace that it is about; empty for all."""

    def is_used_by(self, call: Call) -> bool:
        """Tell whether a call needed it."""
        asked = (call.user, call.verb, call.resource) == (self.user, self.verb, self.resource)
        return asked and self.name in ("", call.name) and self.namespace in ("", call.namespace)


def shipped() -> Iterator[Right]:
    """Yield every right of the manifests that one of our processes has."""
    for manifest in ROLES:
        for component, rights in parse_roles(read_manifest(manifest)).items():
            for right in rights:
                yield Right(USERS[component], right.verb, right.resource, right.name, right.namespace)


def unused(rights: Iterable[Right], calls: Iterable[Call]) -> list[Right]:
    """Return the rights that no call needed; a call needs the narrowest right that allows it."""
    given = list(rights)
    needed = set()
    for call in calls:
        # Whoever applies what is not there creates it, and needs the right to; the log has one entry.
        both = call.verb == "patch" and call.status == HTTPStatus.CREATED
        for each in (call, replace(call, verb="create")) if both else (call,):
            allowing = [right for right in given if right.is_used_by(each)]
            needed |= set(sorted(allowing, key=lambda right: (right.name, right.namespace))[-1:])
    return [right for right in given if right not in needed]


def do_everything(
    company: Company, console: Console, canary: Canary, operator: InstalledOperator, audit: AuditLog
) -> None:
    """Have the operator do once whatever it has a right for; it has started before."""
    kubectl = console.cluster.kubectl
    web = company.namespace("web", "web")
    # Definitions, a policy, and their statuses; a value of a native Secret.
    console.apply(native(web, "source", password=canary.value("native")))
    console.apply(
        scoped_secret(f"{web}/aws", env={"KEY": canary.value("rights")}),
        scoped_secret(f"{web}/db", env={"PASSWORD": key_of("source", "password")}),
        secret_policy(f"{web}/policy", "aws", effect="Allow", rules=[{"name": "everybody"}]),
    )
    console.wait_condition(web, "aws", "Ready", "True")
    console.wait_condition(web, "db", "Ready", "True")
    company.settle(web)
    # A bundle comes and goes, and a pod that cannot have one is told so.
    console.create(pod(f"{web}/job", "aws"))
    console.seen(web, "job")
    # Without a node no session opens, but admission reads the pod.
    kubectl("exec", "job", "-n", web, "--", "true", check=False)
    console.set_phase(web, "job", "Succeeded")
    console.wait_gone("secrets", web, *named_secrets(console.cluster.get("pod", "job", "-n", web)))
    # A pod loses its label, and the controller finds out that it exists all the same.
    console.create(pod(f"{web}/unlabelled", "aws"))
    console.seen(web, "unlabelled")
    with operator.guard_off():
        kubectl("label", "pod", "unlabelled", "-n", web, f"{names.INJECT_LABEL}-")

    def is_asked_for() -> bool:
        return any((call.verb, call.resource) == ("get", "pods") for call in audit.calls(CONTROLLER_USER))

    wait_until(is_asked_for, "the controller asks for the pod", seconds=SECONDS)
    operator.stop_controllers()
    console.create(pod(f"{web}/denied", "aws"))
    console.apply(secret_policy(f"{web}/forbid", "aws", effect="Deny"))
    # Meanwhile: a certificate is damaged, a new fingerprint key is asked for, and the public key is lost.
    damage = json.dumps({"data": {"tls.crt": None}})
    kubectl("patch", "secret", names.CERTIFICATE_SECRET, "-n", HOME, "--type=merge", "-p", damage)
    kubectl("annotate", "secret", names.FINGERPRINT_KEY_SECRET, "-n", HOME, f"{names.ROTATE_ANNOTATION}=now")
    kubectl("delete", "configmap", names.CERTIFICATE_CONFIG_MAP, "-n", HOME)
    operator.start()
    console.wait_event(web, "denied", "PolicyDenied")
    kubectl("annotate", "ssec", "aws", "-n", web, f"{names.RESEAL_ANNOTATION}=now")

    def is_resealed() -> bool:
        metadata = console.cluster.get("ssec", "aws", "-n", web)["metadata"]
        return names.RESEAL_ANNOTATION not in metadata.get("annotations", {})

    def is_mended() -> bool:
        secret = console.cluster.get("secret", names.CERTIFICATE_SECRET, "-n", HOME)
        return "tls.crt" in secret["data"] and console.exists("configmap", HOME, names.CERTIFICATE_CONFIG_MAP)

    wait_until(is_resealed, "the definition is sealed anew", seconds=SECONDS)
    # A copy, about whose source admission asks.
    console.apply(scoped_secret(f"{web}/copied", copyFrom={"namespace": web, "name": "aws"}))
    console.wait_current(web, "copied")
    wait_until(is_mended, "certificate and public key are there again", seconds=SECONDS)
    operator.mount_material()
    kubectl("delete", "secret", "source", "-n", web)


@pytest.mark.usefixtures("role")
def test_roles_grant_exactly_the_rights_that_the_operator_uses(
    company: Company, console: Console, canary: Canary, operator: InstalledOperator, audit: AuditLog
):
    begin = audit.mark()

    do_everything(company, console, canary, operator, audit)

    rights = list(shipped())
    users = sorted({right.user for right in rights})
    assert users == sorted({CONTROLLER_USER, ADMISSION_USER})
    # The first start made the first key and the certificates, before this test.
    calls = [call for user in users for call in audit.calls(user) if call.is_success]
    assert unused(rights, calls) == []
    refused = [call for user in users for call in audit.calls(user, begin) if call.status == HTTPStatus.FORBIDDEN]
    # What is refused for a moment, until the API server has read a role, is allowed afterwards.
    allowed = {(call.user, call.verb, call.resource) for call in calls}
    assert [call for call in refused if (call.user, call.verb, call.resource) not in allowed] == []


def test_unused_right_is_found(operator: InstalledOperator, audit: AuditLog):
    """The check above can fail."""
    calls = [call for call in audit.calls(CONTROLLER_USER) if call.is_success]
    needed = [Right(CONTROLLER_USER, "list", "pods", "", ""), Right(CONTROLLER_USER, "get", "leases", "", HOME)]
    needless = [
        Right(CONTROLLER_USER, "update", "secrets", "", ""),
        Right(CONTROLLER_USER, "get", "leases", "another", HOME),
        Right(CONTROLLER_USER, "list", "pods", "", "another"),
        Right(CONTROLLER_USER, "get", "leases", "", ""),
        Right(ADMISSION_USER, "list", "secrets", "", ""),
    ]

    assert unused([*needless, *needed], calls) == needless
