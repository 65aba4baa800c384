"""Reads how pods and workloads opt in, in pages, and keeps only what the check needs. No request is for a Secret."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Final

from scoped_secrets import names
from scoped_secrets.doctor.answers import ask
from scoped_secrets.doctor.facts import Answer, OptInFacts, Unreadable
from scoped_secrets.doctor.opt_in_facts import (
    OptIn,
    Overlap,
    Source,
    WarningPolicy,
    decode_opt_in,
    decode_policy,
    decode_sources,
    find_overlap,
    warning_bindings,
)
from scoped_secrets.kube import paths
from scoped_secrets.kube.client import PAGE_OBJECTS, Cluster

__all__ = ["gather_opt_in"]

_METADATA_PAGE: Final = 500
_MOST: Final = 100
"""How many ConfigMaps are read."""
_INJECTED: Final = f"{names.INJECT_LABEL}={names.INJECT_VALUE}"
_WORKLOADS: Final[Mapping[str, str]] = {
    "Job": "jobs.batch",
    "CronJob": "cronjobs.batch",
    "Deployment": "deployments.apps",
    "StatefulSet": "statefulsets.apps",
    "DaemonSet": "daemonsets.apps",
}


async def gather_opt_in(cluster: Cluster, policy: str) -> OptInFacts:
    """Return all facts about the opt-in.

    Args:
        cluster: The API server.
        policy: The name of the policy that warns.

    Raises:
        ClusterError: The API server does not answer, or rejects the credentials.
    """
    needs = f"get on validatingadmissionpolicies '{policy}' and validatingadmissionpolicybindings " + " and ".join(
        f"'{binding}'" for binding in warning_bindings(policy)
    )
    # Of pods, of which there are many, only the metadata; of those that opted in, the containers too.
    pods = await ask("list on pods", _opt_ins(cluster, "Pod", paths.pods(), metadata_only=True))
    workloads = [
        await ask(f"list on {resource}", _opt_ins(cluster, kind, paths.workloads(kind)))
        for kind, resource in _WORKLOADS.items()
    ]
    # The answer for `pods` says already that they could not be listed.
    listed = await ask("list on pods", _sources(cluster))
    sources = () if isinstance(listed, Unreadable) else listed
    return OptInFacts(
        policy=await ask(needs, _policy(cluster, policy)),
        objects=(pods, *workloads),
        overlaps=await _overlaps(cluster, sources),
        not_compared=max(0, len(_by_config_map(sources)) - _MOST),
    )


async def _policy(cluster: Cluster, name: str) -> WarningPolicy:
    policy = await cluster.get(paths.object_path("ValidatingAdmissionPolicy", name))
    bindings = {
        binding: await cluster.get(paths.object_path("ValidatingAdmissionPolicyBinding", binding))
        for binding in warning_bindings(name)
    }
    return decode_policy(name, policy, bindings)


async def _opt_ins(cluster: Cluster, kind: str, path: str, *, metadata_only: bool = False) -> tuple[OptIn, ...]:
    found: list[OptIn] = []
    limit = _METADATA_PAGE if metadata_only else PAGE_OBJECTS
    async for page in cluster.pages(path, limit=limit, metadata_only=metadata_only):
        if page.starts_list:
            found.clear()
        found += filter(None, (decode_opt_in(kind, body) for body in page.items))
    return tuple(found)


async def _sources(cluster: Cluster) -> tuple[Source, ...]:
    found: list[Source] = []
    async for page in cluster.pages(paths.pods(), label_selector=_INJECTED):
        if page.starts_list:
            found.clear()
        for body in page.items:
            found += decode_sources(body)
    return tuple(found)


async def _overlaps(cluster: Cluster, sources: Sequence[Source]) -> tuple[Answer[tuple[Overlap, ...]], ...]:
    """Return what ConfigMaps and bundles have in common, one answer for each ConfigMap."""
    answers: list[Answer[tuple[Overlap, ...]]] = []
    denied: set[str] = set()
    for (namespace, name), group in sorted(_by_config_map(sources).items())[:_MOST]:
        # A user who may not read the ConfigMaps of a namespace is told so once.
        if namespace not in denied:
            needs = f"get on configmaps in namespace '{namespace}'"
            answers.append(await ask(needs, _compared(cluster, paths.config_maps(namespace, name), group)))
            if isinstance(answers[-1], Unreadable):
                denied.add(namespace)
    return tuple(answers)


def _by_config_map(sources: Sequence[Source]) -> Mapping[tuple[str, str], Sequence[Source]]:
    found: dict[tuple[str, str], list[Source]] = defaultdict(list)
    for source in sources:
        found[source.namespace, source.config_map].append(source)
    return found


async def _compared(cluster: Cluster, path: str, sources: Sequence[Source]) -> tuple[Overlap, ...]:
    config_map = await cluster.get(path)
    return tuple(filter(None, (find_overlap(source, config_map) for source in sources)))
