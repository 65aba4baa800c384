"""Reads every fact that the checks need from the cluster; a fact that may not be read is recorded as such.

These rules allow all requests; each rule is optional:

    apiextensions.k8s.io          customresourcedefinitions, by the two names              get
    admissionregistration.k8s.io  mutating- and validatingwebhookconfigurations, by name   get
    admissionregistration.k8s.io  validatingadmissionpolicies and -bindings, by name       get
    apps                          deployments, in the operator's namespace                 list
    coordination.k8s.io           leases/scoped-secrets-controller, there                  get
    (core)                        configmaps/scoped-secrets-public-key, there              get (every user may)
    (core)                        namespaces                                               list
    scopedsecrets.dev             scopedsecrets, secretpolicies                            list
    authorization.k8s.io          subjectaccessreviews                                     create
    (core)                        pods, in the namespace of the dry run                    create
    (core)                        pods                                                     list
    apps                          deployments, statefulsets, daemonsets                    list
    batch                         jobs, cronjobs                                           list
    (core)                        configmaps that injected pods name in `envFrom`          get

No rule is about Secrets. Of ConfigMaps only the names of keys are kept. The right to create pods is not limited to dry
runs: grant it with care.
"""

import asyncio
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from scoped_secrets import __version__, names
from scoped_secrets.api.crds import crd_documents
from scoped_secrets.clock import utc_now
from scoped_secrets.doctor.answers import ask
from scoped_secrets.doctor.decoding import (
    decode_base64,
    decode_crd,
    decode_hooks,
    decode_labels,
    decode_lease,
    decode_published,
    decode_readiness,
    decode_workload,
)
from scoped_secrets.doctor.facts import (
    Answer,
    Crd,
    Facts,
    Hooks,
    Injection,
    Lease,
    NamespaceLabels,
    OptInFacts,
    Published,
    Readiness,
    RightAnswer,
    Served,
    ServerVersion,
    Unreadable,
    Workload,
)
from scoped_secrets.doctor.gather_opt_in import gather_opt_in
from scoped_secrets.doctor.guard import GUARD_VALUES, GuardPolicy, decode_guard_policy
from scoped_secrets.doctor.injection import read_answer, trial_pod
from scoped_secrets.doctor.reach import ask_admission, origin_of
from scoped_secrets.doctor.rights import Configuration, Right, parse_roles, required_rights
from scoped_secrets.kube import paths
from scoped_secrets.kube.client import Body, Cluster
from scoped_secrets.shipped_manifests import (
    GUARD_MANIFEST,
    INJECTED_MANIFEST,
    ROLES_MANIFEST,
    WEBHOOKS_MANIFEST,
    read_manifest,
)

__all__ = ["gather", "shipped_hooks"]

_T = TypeVar("_T")

_POLICY = "ValidatingAdmissionPolicy"
_COMPONENTS = "app.kubernetes.io/component in (controller, admission)"
_DEFAULT_NAMESPACE = "default"
_EXCLUDED_NAMESPACES = frozenset({"kube-system", "kube-public", "kube-node-lease"})


async def gather(cluster: Cluster, operator_namespace: str, namespace: str | None) -> Facts:
    """Return all facts.

    Args:
        cluster: The API server.
        operator_namespace: Where the operator is.
        namespace: Where a pod is created as a dry run; by default the first namespace with a project, or `default`
            without the right to create pods there.

    Raises:
        ClusterError: The API server does not answer, or rejects the credentials.
        ConfigurationError: The manifests of this program are missing.
    """
    server = await ask("get on /version", _server(cluster))
    requests = _Requests(cluster, operator_namespace)
    workloads, namespaces = await asyncio.gather(requests.workloads(), requests.namespaces())
    # The flags of the controller say how this installation differs from the manifests.
    known = Facts(
        now=utc_now(),
        version=__version__,
        namespace=operator_namespace,
        server=server,
        crds=(),
        workloads=workloads,
        lease=None,
        hooks=(),
        shipped_hooks=shipped_hooks(),
        served=None,
        published=Published(is_there=False),
        namespaces=namespaces,
        objects=(),
        rights=(),
        injection=Unreadable(),
        opt_in=OptInFacts(Unreadable()),
    )
    configuration = known.flag("controller", "--webhook-configuration", names.WEBHOOK_CONFIGURATION)
    bodies = await asyncio.gather(*(requests.configuration(kind, configuration) for kind in _CONFIGURATIONS))
    return replace(
        known,
        crds=await requests.crds(),
        lease=await requests.lease(),
        hooks=tuple(_hooks(kind, configuration, body) for kind, body in zip(_CONFIGURATIONS, bodies, strict=True)),
        served=await _served(bodies),
        published=await requests.published(),
        objects=tuple([await requests.objects(kind) for kind in _OBJECTS]),
        rights=await requests.rights(known, configuration),
        injection=await requests.injection(namespace, namespaces),
        opt_in=await gather_opt_in(cluster, configuration),
        guard=await requests.guard(configuration),
    )


_CONFIGURATIONS: Mapping[str, Callable[[str], str]] = {
    "MutatingWebhookConfiguration": paths.mutating_webhook_configurations,
    "ValidatingWebhookConfiguration": paths.validating_webhook_configurations,
}
_OBJECTS = {
    names.SCOPED_SECRET_KIND: (names.SCOPED_SECRET_PLURAL, paths.scoped_secrets),
    names.SECRET_POLICY_KIND: (names.SECRET_POLICY_PLURAL, paths.secret_policies),
}


async def _server(cluster: Cluster) -> ServerVersion:
    body = await cluster.get("/version") or {}
    major, minor = ("".join(filter(str.isdecimal, str(body.get(part, "")))) for part in ("major", "minor"))
    return ServerVersion(int(major or 0), int(minor or 0))


@dataclass(frozen=True, slots=True)
class _Requests:
    """The requests to the API server, each of which it may deny."""

    cluster: Cluster
    namespace: str

    async def crds(self) -> Answer[tuple[Crd, ...]]:
        needs = "get on customresourcedefinitions.apiextensions.k8s.io"
        return await ask(needs, self._crds())

    async def workloads(self) -> Answer[tuple[Workload, ...]]:
        needs = f"list on deployments.apps in namespace '{self.namespace}'"
        listed = await ask(needs, self.cluster.list_all(paths.deployments(self.namespace), label_selector=_COMPONENTS))
        if isinstance(listed, Unreadable):
            return listed
        workloads = (decode_workload(body) for body in listed)
        # Another program's Deployment may have the same label; the operator's arguments begin with the component.
        return tuple(each for each in workloads if each.arguments[:1] == (each.component,))

    async def namespaces(self) -> Answer[tuple[NamespaceLabels, ...]]:
        listed = await ask("list on namespaces", self.cluster.list_all(paths.namespaces()))
        return listed if isinstance(listed, Unreadable) else tuple(decode_labels(body["metadata"]) for body in listed)

    async def configuration(self, kind: str, name: str) -> Answer[Body | None]:
        needs = f"get on {kind.lower()}s.admissionregistration.k8s.io '{name}'"
        return await ask(needs, self.cluster.get(_CONFIGURATIONS[kind](name)))

    async def lease(self) -> Answer[Lease | None]:
        needs = f"get on leases.coordination.k8s.io '{names.LEASE_NAME}' in namespace '{self.namespace}'"
        body = await ask(needs, self.cluster.get(paths.leases(self.namespace, names.LEASE_NAME)))
        return body if body is None or isinstance(body, Unreadable) else decode_lease(body.get("spec") or {}, utc_now())

    async def published(self) -> Answer[Published]:
        needs = f"get on configmaps '{names.CERTIFICATE_CONFIG_MAP}' in namespace '{self.namespace}'"
        path = paths.config_maps(self.namespace, names.CERTIFICATE_CONFIG_MAP)
        body = await ask(needs, self.cluster.get(path))
        return body if isinstance(body, Unreadable) else decode_published(body)

    async def objects(self, kind: str) -> Answer[tuple[Readiness, ...]]:
        plural, path = _OBJECTS[kind]
        listed = await ask(f"list on {plural}.{names.GROUP}", self.cluster.list_all(path()))
        if isinstance(listed, Unreadable):
            return listed
        now = utc_now()
        return tuple(decode_readiness(kind, body, now) for body in listed)

    async def rights(self, known: Facts, configuration: str) -> Answer[tuple[RightAnswer, ...]]:
        makes = known.flag("controller", "--certificates", "selfManaged") == "selfManaged"
        writes = makes or bool(known.flag("controller", "--ca-file", ""))
        admission = known.workload("admission")
        here = Configuration(
            self.namespace,
            configuration,
            makes_certificates=makes,
            writes_bundle=writes,
            gates=admission is None or "--no-gate" not in admission.arguments,
        )
        shipped = parse_roles(read_manifest(ROLES_MANIFEST))
        usual = {"controller": names.CONTROLLER_ACCOUNT, "admission": names.ADMISSION_ACCOUNT}
        workloads = {component: known.workload(component) for component in usual}
        questions = [
            (usual[component] if workload is None else workload.account, right)
            for component, workload in workloads.items()
            for right in required_rights(shipped[component], here)
        ]
        return await ask("create on subjectaccessreviews.authorization.k8s.io", self._rights(questions))

    async def injection(self, chosen: str | None, known: Answer[tuple[NamespaceLabels, ...]]) -> Answer[Injection]:
        if chosen is not None:
            return await self._try_pod(chosen, is_chosen=True)
        where = _namespace_for_trial(known, self.namespace)
        answer = await self._try_pod(where)
        may_try = _DEFAULT_NAMESPACE not in (where, self.namespace)
        if isinstance(answer, Unreadable) and answer.needs and may_try:
            # The account of "helm test" may create pods in one namespace only.
            elsewhere = await self._try_pod(_DEFAULT_NAMESPACE)
            return answer if isinstance(elsewhere, Unreadable) else elsewhere
        return answer

    async def _try_pod(self, where: str, *, is_chosen: bool = False) -> Answer[Injection]:
        pod = trial_pod(f"{names.DISTRIBUTION}-doctor-{secrets.token_hex(4)}")

        async def attempt() -> Answer[Injection]:
            status, body = await self.cluster.dry_run_create(paths.pods(where), pod)
            return read_answer(where, status, body, is_chosen=is_chosen)

        return await ask(f"create on pods in namespace '{where}'", attempt())

    async def guard(self, prefix: str) -> Answer[tuple[GuardPolicy, ...]]:
        needs = f"get on validatingadmissionpolicies and validatingadmissionpolicybindings '{prefix}-…'"
        return await ask(needs, self._guard(prefix))

    async def _guard(self, prefix: str) -> tuple[GuardPolicy, ...]:
        documents = (*read_manifest(INJECTED_MANIFEST), *read_manifest(GUARD_MANIFEST))
        found = []
        for shipped in documents:
            if shipped["kind"] != _POLICY:
                continue
            end = str(shipped["metadata"]["name"]).removeprefix(f"{names.WEBHOOK_CONFIGURATION}-")
            name = f"{prefix}-{end}"
            policy = await self.cluster.get(paths.object_path(_POLICY, name))
            binding = await self.cluster.get(paths.object_path(f"{_POLICY}Binding", name))
            param = prefix if "paramKind" in shipped["spec"] else ""
            found.append(decode_guard_policy(name, GUARD_VALUES.get(end, ""), shipped, policy, binding, param=param))
        return tuple(found)

    async def _crds(self) -> tuple[Crd, ...]:
        found = []
        for document in crd_documents().values():
            name = document["metadata"]["name"]
            body = await self.cluster.get(paths.custom_resource_definitions(name))
            found.append(Crd(name, is_there=False) if body is None else decode_crd(name, body, document))
        return tuple(found)

    async def _rights(self, questions: Sequence[tuple[str, Right]]) -> tuple[RightAnswer, ...]:
        # The first request is sent alone: if the user may not create reviews, the others are not sent.
        first = await self._right(*questions[0])
        others = await asyncio.gather(*(self._right(*each) for each in questions[1:]), return_exceptions=True)
        # All have ended, so that no task is left whose exception is never retrieved.
        return first, *(_result(other) for other in others)

    async def _right(self, account: str, right: Right) -> RightAnswer:
        resource, _, sub_resource = right.resource.partition("/")
        attributes = {
            "verb": right.verb,
            "group": right.group,
            "resource": resource,
            "subresource": sub_resource,
            "name": right.name,
            "namespace": right.namespace,
        }
        groups = ["system:serviceaccounts", f"system:serviceaccounts:{self.namespace}", "system:authenticated"]
        user = f"system:serviceaccount:{self.namespace}:{account}"
        body = {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SubjectAccessReview",
            "spec": {"user": user, "groups": groups, "resourceAttributes": attributes},
        }
        answer = await self.cluster.create(paths.subject_access_reviews(), body)
        return RightAnswer(account, right, bool((answer.get("status") or {}).get("allowed")))


def _result(outcome: _T | BaseException) -> _T:
    if isinstance(outcome, BaseException):
        raise outcome
    return outcome


async def _served(bodies: Sequence[Answer[Body | None]]) -> Served | None:
    """Ask the admission server at the address of the first webhook; ``None`` when no webhook has a caBundle."""
    for body in bodies:
        if body is None or isinstance(body, Unreadable):
            continue
        for webhook in body.get("webhooks") or ():
            config = webhook.get("clientConfig") or {}
            bundle = decode_base64(config.get("caBundle"))
            if bundle:
                return await ask_admission(origin_of(config), bundle)
    return None


def _namespace_for_trial(known: Answer[tuple[NamespaceLabels, ...]], operator_namespace: str) -> str:
    """Return the first namespace with a project; `default` when there is none, whose pods the operator denies."""
    found = () if isinstance(known, Unreadable) else known
    excluded = _EXCLUDED_NAMESPACES | {operator_namespace}
    return next((each.name for each in found if each.project and each.name not in excluded), _DEFAULT_NAMESPACE)


def _hooks(kind: str, name: str, body: Answer[Body | None]) -> Answer[Hooks]:
    return body if isinstance(body, Unreadable) else decode_hooks(kind, name, body)


def shipped_hooks() -> tuple[Hooks, ...]:
    """Return the webhook configurations that this program ships; raise ConfigurationError when they are missing."""
    documents = read_manifest(WEBHOOKS_MANIFEST)
    return tuple(decode_hooks(each["kind"], each["metadata"]["name"], each) for each in documents)
