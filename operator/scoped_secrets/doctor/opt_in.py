"""Judges how pods and workloads opt in: an opt-in that does not work is silent, because admission never sees the pod.

The policy in the chart warns of the same mistakes while an object is created; this check finds them afterwards.
"""

import difflib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from scoped_secrets import names
from scoped_secrets.doctor.facts import Facts, Unreadable
from scoped_secrets.doctor.findings import Finding, Severity
from scoped_secrets.doctor.opt_in_facts import Marks, OptIn, Overlap, WarningPolicy
from scoped_secrets.messages import quoted_names

__all__ = ["check_opt_in"]

_NAMED: Final = 5
"""How many objects, variables or names a finding names."""
_GROUPS: Final = 10
"""How many findings of one rule there are."""
_VALUES: Final = (None, names.INJECT_VALUE, names.NO_INJECT_VALUE)


@dataclass(frozen=True, slots=True)
class _Known:
    """The names with our prefix that have a meaning on a kind of object; people do not write all of them."""

    owner: str
    labels: tuple[str, ...]
    annotations: tuple[str, ...]


_PODS: Final = _Known("pods", (names.INJECT_LABEL,), names.AUTHOR_ANNOTATIONS)
_NAMESPACES: Final = _Known(
    "namespaces",
    (names.ORGANIZATION_LABEL, names.PROJECT_LABEL, names.ENVIRONMENT_LABEL),
    (
        names.ENVIRONMENT_LABEL,
        names.ALLOW_ENVIRONMENTS_ANNOTATION,
        names.ALLOW_PROJECT_ATTACH_ANNOTATION,
        names.ALLOW_ATTACH_PATHS_ANNOTATION,
        names.SECRETS_ANNOTATION,
        names.HOME_ANNOTATION,
        names.RUN_AS_USER_ANNOTATION,
    ),
)

# What is wrong and its remedy, for all objects of which both are the same.
_Problem = tuple[str, str]


def check_opt_in(facts: Facts) -> Iterator[Finding]:
    """Check that the policy that warns is in force, and that what meant to opt in did."""
    found = facts.opt_in
    yield from _check_policy(found.policy)
    objects: list[OptIn] = []
    for answer in found.objects:
        if isinstance(answer, Unreadable):
            yield _unread("the opt-in of pods or workloads", answer)
        else:
            objects += answer
    for rule in (_wrong_values, _misplaced, _without_label):
        yield from _grouped(rule(objects))
    # The check namespaces reports namespaces that could not be read.
    namespaces = () if isinstance(facts.namespaces, Unreadable) else facts.namespaces
    places = [(each.place, each.pod, _PODS, _NAMESPACES) for each in objects]
    places += [(f"Namespace {each.name}", each.marks, _NAMESPACES, _PODS) for each in namespaces]
    yield from _grouped(problem for place in places for problem in _unknown(*place))
    for overlaps in found.overlaps:
        if isinstance(overlaps, Unreadable):
            yield _unread("variables that pods have from a ConfigMap and from a bundle", overlaps)
        else:
            yield from _grouped(_overlapping(overlaps))
    if found.not_compared:
        yield Finding(
            Severity.UNCHECKED,
            f"pods with secrets read too many ConfigMaps with `envFrom`: {found.not_compared} are not checked",
            "compare their keys with the variables of the pods",
        )


def _check_policy(policy: WarningPolicy | Unreadable) -> Iterator[Finding]:
    again = "apply manifests/60-opt-in-warnings.yaml, or set optInWarnings.enabled if you turned it off by mistake"
    if isinstance(policy, Unreadable):
        yield _unread("the policy that warns of mistakes in the opt-in", policy)
    elif not policy.is_there:
        yield Finding(
            Severity.WARNING,
            f"the ValidatingAdmissionPolicy '{policy.name}' does not exist, so that the API server does not warn of "
            "mistakes in the opt-in",
            again,
        )
    else:
        for binding in policy.unbound:
            yield Finding(
                Severity.WARNING,
                f"the ValidatingAdmissionPolicyBinding '{binding}' does not exist or does not warn, so that the API "
                "server does not warn of mistakes in the opt-in",
                again,
            )


def _wrong_values(objects: Iterable[OptIn]) -> Iterator[tuple[_Problem, str]]:
    for each in objects:
        if each.pod.inject not in _VALUES:
            what = f"the label {names.INJECT_LABEL} has the value '{each.pod.inject}', which does not opt in"
            yield (what, 'write "true", in quotes and lower case, or "false" to opt out'), each.place


def _misplaced(objects: Iterable[OptIn]) -> Iterator[tuple[_Problem, str]]:
    for each in objects:
        wrong = _misplaced_names(each)
        if wrong:
            what = f"{', '.join(wrong)} is only on the workload, and pods get what is on their template"
            yield (what, f"move it to {each.path}"), each.place


def _misplaced_names(each: OptIn) -> tuple[str, ...]:
    """Return the label and the annotations of pods that only the workload has."""
    around = each.around or Marks()
    has_label = around.inject not in (None, names.NO_INJECT_VALUE) and each.pod.inject is None
    label = (names.INJECT_LABEL,) if has_label else ()
    return (
        *label,
        *(name for name in names.AUTHOR_ANNOTATIONS if name in around.annotations and name not in each.pod.annotations),
    )


def _without_label(objects: Iterable[OptIn]) -> Iterator[tuple[_Problem, str]]:
    for each in objects:
        written = [name for name in names.AUTHOR_ANNOTATIONS if name in each.pod.annotations]
        # A misplaced or misspelt label is reported as that.
        is_meant = bool(each.pod.labels) or names.INJECT_LABEL in (*each.pod.annotations, *_misplaced_names(each))
        if written and not is_meant:
            what = f"{', '.join(written)} has no effect on pods without the label {names.INJECT_LABEL}"
            yield (what, f'add the label {names.INJECT_LABEL}: "true", or remove the annotation'), each.place


def _unknown(place: str, marks: Marks, known: _Known, elsewhere: _Known) -> Iterator[tuple[_Problem, str]]:
    for name in marks.labels:
        if name not in known.labels:
            remedy = _remedy(name, known, elsewhere, is_label=True)
            yield (f"the label '{name}' has no meaning on {known.owner}", remedy), place
    for name in marks.annotations:
        if name not in (*known.annotations, *names.ADMISSION_ANNOTATIONS):
            remedy = _remedy(name, known, elsewhere, is_label=False)
            yield (f"the annotation '{name}' has no meaning on {known.owner}", remedy), place


def _remedy(name: str, known: _Known, elsewhere: _Known, *, is_label: bool) -> str:
    """Return what to do about an unknown name: the nearest known one, first of the same sort."""
    same, other = (known.labels, known.annotations) if is_label else (known.annotations, known.labels)
    sort = "an annotation" if is_label else "a label"
    if name in other:
        return f"make it {sort}"
    if name in (*elsewhere.labels, *elsewhere.annotations):
        return f"remove it; it belongs on {elsewhere.owner}"
    if near := _nearest(name, same):
        return f"rename it to '{near}', or remove it"
    if near := _nearest(name, other):
        return f"make it {sort} with the name '{near}', or remove it"
    return f"remove it; known are {', '.join(same)}"


def _nearest(name: str, known: Iterable[str]) -> str | None:
    """Return the known name that is most like a name, by what follows the prefix."""
    prefix = f"{names.GROUP}/"
    short = {each.removeprefix(prefix): each for each in known}
    found = difflib.get_close_matches(name.removeprefix(prefix).lower(), short, n=1)
    return short[found[0]] if found else None


def _overlapping(overlaps: Iterable[Overlap]) -> Iterator[tuple[_Problem, str]]:
    for each in overlaps:
        source = each.source
        what = (
            f"the value of the bundle wins over that of the ConfigMap '{source.namespace}/{source.config_map}' for "
            f"{quoted_names(each.variables, _NAMED)} in the container '{source.container}'"
        )
        remedy = "remove the variable from the ConfigMap or from the bundle, or set a `prefix` for `envFrom`"
        yield (what, remedy), f"Pod {source.namespace}/{source.pod}"


def _grouped(problems: Iterable[tuple[_Problem, str]]) -> Iterator[Finding]:
    """Yield one finding for all objects with the same problem, and not more findings than a person reads."""
    places: Mapping[_Problem, set[str]] = defaultdict(set)
    for problem, place in problems:
        places[problem].add(place)
    ordered = sorted(places.items())
    for (what, remedy), where in ordered[:_GROUPS]:
        yield Finding(Severity.WARNING, f"{what}: {quoted_names(where, _NAMED)}", remedy)
    if ordered[_GROUPS:]:
        where = {place for _, group in ordered[_GROUPS:] for place in group}
        yield Finding(
            Severity.WARNING,
            f"{len(ordered) - _GROUPS} more mistakes of this sort: {quoted_names(where, _NAMED)}",
            "mend the ones above, and run this again",
        )


def _unread(what: str, unreadable: Unreadable) -> Finding:
    why = f"needs {unreadable.needs}" if unreadable.needs else unreadable.failure
    remedy = "ask for that right, or ask a user who has it to run this" if unreadable.needs else "run this again"
    return Finding(Severity.UNCHECKED, f"{what}: not checked: {why}", remedy)
