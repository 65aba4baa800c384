"""The SecretPolicies that `share` and `cordon` write: who may use one definition. They never need a value.

Each is named after its definition, is in the definition's namespace, and selects the definition by the name and the
scope of its bundle. A policy of this name that a person wrote is never changed.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from scoped_secrets import names
from scoped_secrets.core.policy.policy import Effect
from scoped_secrets.core.scope.slot import Scope, Slot
from scoped_secrets.core.scope.trust import Trust
from scoped_secrets.errors import ClusterError, ConfigurationError, ConflictError, ForbiddenError
from scoped_secrets.kube import paths
from scoped_secrets.kube.client import Body, Cluster
from scoped_secrets.kube.decoding import Decoder
from scoped_secrets.operations.admission_warnings import warning_texts
from scoped_secrets.operations.create import Stored
from scoped_secrets.operations.dry_run import DryRun
from scoped_secrets.operations.effects import Effects, effects_of
from scoped_secrets.operations.locate import Located, slot_of

__all__ = ["Audience", "cordon", "effects_with", "share", "uncordon"]

_MAX_RULE: Final = 63
_NO_NAME: Final = re.compile(r"[^A-Za-z0-9]+")
_OWNER: Final = names.PERSON_FIELD_MANAGER
# A rule that matches no job: such a policy restricts sessions and nothing else.
_NO_JOB: Final = {"name": "no-job", "notAfter": "2000-01-01T00:00:00Z"}


@dataclass(frozen=True, slots=True)
class Audience:
    """Which jobs may use a definition.

    Attributes:
        projects: The projects, or patterns of them; ``None`` for all. Empty for no job at all.
    """

    projects: tuple[str, ...] | None

    @property
    def rules(self) -> list[dict[str, Any]]:
        """Return the rules of an Allow policy."""
        if self.projects is None:
            return [{"name": "everyone"}]
        return [{"name": "shared", "projects": list(self.projects)}] if self.projects else []


async def share(
    cluster: Cluster,
    located: Located,
    audience: Audience | None,
    sessions: Mapping[str, bool],
    dry_run: DryRun | None = None,
) -> Stored:
    """Create or change the policy that says who may use a definition.

    Args:
        cluster: The client.
        located: The definition.
        audience: The jobs that may use it; ``None`` to leave that as it is.
        sessions: Whether each of the named kinds of session (a field of `spec.interactive`) is denied; kinds that are
            left out stay as they are.
        dry_run: Store nothing.

    Raises:
        ConfigurationError: The scope of the definition is not known, or a policy in this namespace would govern other
            definitions too.
        ConflictError: A person wrote a policy of this name, or changed it just now.
        ForbiddenError: The person may not write policies.
        ClusterError: A request failed.
    """
    _require_own_policy(located)
    name = f"share-{located.name}"
    existing = await _existing(cluster, located, name)
    spec: dict[str, Any] = {"effect": Effect.DENY.value, "rules": [_NO_JOB]}
    if existing is not None:
        spec = dict(existing["spec"])
    spec["secrets"] = _selection(located)
    if audience is not None:
        spec |= {"effect": Effect.ALLOW.value, "rules": audience.rules}
    if sessions:
        denied = {kind: (Effect.DENY if is_denied else Effect.ALLOW).value for kind, is_denied in sessions.items()}
        spec["interactive"] = {**(spec.get("interactive") or {}), **denied}
    return await _write(cluster, located, name, spec, existing, dry_run)


async def cordon(cluster: Cluster, located: Located, reason: str, dry_run: DryRun | None = None) -> Stored:
    """Deny every new use of a definition; running jobs keep what they have.

    Args:
        cluster: The client.
        located: The definition.
        reason: Why; denials show it as the name of the rule.
        dry_run: Store nothing.

    Raises:
        ConfigurationError: The scope of the definition is not known.
        ConflictError: A person wrote a policy of this name, or changed it just now.
        ForbiddenError: The person may not write policies.
        ClusterError: A request failed.
    """
    name = f"cordon-{located.name}"
    slot = _known_slot(located)
    rule: dict[str, Any] = {"name": _rule_name(reason)}
    # In the home, a policy governs the definitions of all projects.
    if slot.project is not None:
        rule["projects"] = [slot.project]
    if slot.environment is not None:
        rule["environments"] = [slot.environment]
    spec = {"secrets": _selection(located), "effect": Effect.DENY.value, "rules": [rule]}
    return await _write(cluster, located, name, spec, await _existing(cluster, located, name), dry_run)


async def uncordon(cluster: Cluster, located: Located, dry_run: DryRun | None = None) -> Body | None:
    """Delete the policy of `cordon` and return it, or do as if; ``None`` when there is none.

    Raises:
        ConflictError: A person wrote a policy of this name.
        ForbiddenError: The person may not delete policies.
        ClusterError: A request failed.
    """
    name = f"cordon-{located.name}"
    existing = await _existing(cluster, located, name)
    if existing is None:
        return None
    path = paths.secret_policies(located.namespace, name)
    try:
        if dry_run is not DryRun.CLIENT:
            await cluster.delete(path, uid=existing["metadata"]["uid"], dry_run=dry_run is not None)
    except ForbiddenError as error:
        raise _forbidden(located, error) from None
    return existing


def effects_with(located: Located, policy: Body, now: datetime) -> Effects:
    """Return who may use a definition when a policy is stored that is not, as far as the person may see."""
    inventory = located.view.inventory
    inventory.put_policy(Decoder(names.DEFAULT_ORGANIZATION, keep_sealed=False).policy(policy)[0])
    return effects_of(located.location, inventory, now)


async def _existing(cluster: Cluster, located: Located, name: str) -> Body | None:
    """Return the policy of this name that the command line wrote before."""
    try:
        body = await cluster.get(paths.secret_policies(located.namespace, name))
    except ForbiddenError as error:
        raise _forbidden(located, error) from None
    if body is not None and (body["metadata"].get("labels") or {}).get(names.MANAGED_BY_LABEL) != _OWNER:
        raise ConflictError(
            f"SecretPolicy '{located.namespace}/{name}' was not written by this command; change it with kubectl"
        )
    return body


async def _write(
    cluster: Cluster,
    located: Located,
    name: str,
    spec: Mapping[str, Any],
    existing: Body | None,
    dry_run: DryRun | None,
) -> Stored:
    namespace = located.namespace
    metadata = {"name": name, "namespace": namespace, "labels": {names.MANAGED_BY_LABEL: _OWNER}}
    body: Body = {"apiVersion": names.API_VERSION, "kind": names.SECRET_POLICY_KIND, "metadata": metadata, "spec": spec}
    if dry_run is DryRun.CLIENT:
        return Stored(body, ())
    is_dry = dry_run is not None
    try:
        if existing is None:
            stored, warnings = await cluster.submit("POST", paths.secret_policies(namespace), body, dry_run=is_dry)
        else:
            body["metadata"] = {**existing["metadata"], "labels": {**existing["metadata"]["labels"]}}
            path = paths.secret_policies(namespace, name)
            stored, warnings = await cluster.submit("PUT", path, body, dry_run=is_dry)
    except ForbiddenError as error:
        raise _forbidden(located, error) from None
    except ConflictError as error:
        raise ConflictError(
            f"SecretPolicy '{namespace}/{name}' was changed just now; try again", status=error.status
        ) from None
    return Stored(stored, warning_texts(warnings))


def _forbidden(located: Located, error: ClusterError) -> ForbiddenError:
    return ForbiddenError(
        f"you may not write SecretPolicies in namespace '{located.namespace}', which say who may use a secret; request "
        f"the verbs 'get', 'create', 'update' and 'delete' on them ({error})",
        status=error.status,
    )


def _selection(located: Located) -> dict[str, Any]:
    return {"names": [located.secret_name], "scopes": [located.body["spec"]["scope"]]}


def _known_slot(located: Located) -> Slot:
    slot = slot_of(located.location, located.view.inventory)
    if slot is None:
        raise ConfigurationError(
            f"you may not read the labels of namespace '{located.namespace}', or they do not allow the secret, so its "
            "jobs are not known; request the verb 'get' on the namespace"
        )
    return slot


def _require_own_policy(located: Located) -> None:
    """Refuse a policy that would decide about the definitions of other projects, or whose effect is not known."""
    _known_slot(located)
    binding = located.view.inventory.binding(located.namespace)
    if binding is not None and binding.trust is Trust.HOME and located.body["spec"]["scope"] != Scope.ORGANIZATION:
        raise ConfigurationError(
            f"a policy in the organization's home, namespace '{located.namespace}', would also govern the definitions "
            "of this name of other projects; write a SecretPolicy with a selector for the labels of this one"
        )


def _rule_name(reason: str) -> str:
    """Return a reason as the name of a rule, which denials show."""
    words: Sequence[str] = [word for word in _NO_NAME.split(reason) if word]
    return "-".join(("cordoned", *words))[:_MAX_RULE].rstrip("-")
