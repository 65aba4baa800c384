"""The objects that are measured with."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

from scoped_secrets import names

if TYPE_CHECKING:
    from collections.abc import Iterator

Creation: TypeAlias = tuple[str, dict[str, Any]]
"""The path of a collection, and an object for it."""

GROUP_PATH = f"/apis/{names.GROUP}/{names.VERSION}"
NAMESPACES = "/api/v1/namespaces"
SCOPED_SECRETS = f"{GROUP_PATH}/{names.SCOPED_SECRET_PLURAL}"
PODS_OF_ALL_NAMESPACES = "/api/v1/pods"
KINDS = (NAMESPACES, SCOPED_SECRETS, f"{GROUP_PATH}/{names.SECRET_POLICY_PLURAL}")
"""What a process of the operator reads at its start; the controller also reads the pods that opted in."""

ORGANIZATION = "bench"
HOME = "bench-home"
PER_NAMESPACE = 10
REFERENCES = ("d0", "d1", "d2")
"""What a pod of the benches names: three bundles, the first with a wider definition below it."""

ENTRIES = 100
"""As many variables as a definition may have."""

RUN_LABEL = "bench"
"""What the benches create and delete again has it."""

# Objects with this label go to the floor's webhooks and not to ours.
FLOOR_LABEL = "bench-floor"
BARE = "bare"
"""Its value for pods that no webhook and no policy sees."""
POLICY = "policy"
"""Its value for pods that a MutatingAdmissionPolicy changes."""


# The same length as the operator's words, so that a floor's objects are of the same size.
_OTHER_WORDS = {
    names.GROUP: names.GROUP.replace("secrets", "records"),
    names.BUNDLE_PREFIX: names.BUNDLE_PREFIX.replace("sec", "rec"),
}


def project_namespace(number: int) -> str:
    """Return the name of a project's namespace."""
    return f"bench-{number:04}"


PODS = project_namespace(0)
"""Where all pods are created."""


def needed_namespaces(start: int, stop: int) -> Iterator[Creation]:
    """Yield the namespaces of the definitions from one number to another; the first may be there already."""
    if start == 0:
        yield namespace(HOME)
    first = max(0, start - len(REFERENCES)) // PER_NAMESPACE
    end = -(-(stop - len(REFERENCES)) // PER_NAMESPACE)
    for number in range(first, end):
        yield namespace(project_namespace(number), f"project-{number}")


def definitions(start: int, stop: int, *, sealed: str | None = None) -> Iterator[Creation]:
    """Yield the definitions from one number to another: a few of the organization, then as many in each project."""
    for number in range(start, stop):
        if number < len(REFERENCES):
            yield definition(HOME, REFERENCES[number], sealed=sealed)
        else:
            project, index = divmod(number - len(REFERENCES), PER_NAMESPACE)
            yield definition(project_namespace(project), f"d{index}", sealed=sealed)


def other_words(text: str) -> str:
    """Return a text in which nothing is the operator's any more."""
    for own, other in _OTHER_WORDS.items():
        text = text.replace(own, other)
    return text


def namespace(name: str, project: str | None = None) -> Creation:
    """Return the organization's home or a project's namespace."""
    labels = {names.ORGANIZATION_LABEL: ORGANIZATION} | ({names.PROJECT_LABEL: project} if project else {})
    return NAMESPACES, {"metadata": {"name": name, "labels": labels}}


def collection(resource: str, where: str) -> str:
    """Return the path of a namespace's pods, Secrets, Jobs or ScopedSecrets."""
    prefix = {names.SCOPED_SECRET_PLURAL: GROUP_PATH, "jobs": "/apis/batch/v1"}.get(resource, "/api/v1")
    return f"{prefix}/namespaces/{where}/{resource}"


def definition(where: str, name: str, *, sealed: str | None = None, **labels: str) -> Creation:
    """Return a definition of about 1 KB: two variables, one of them secret, and a file.

    With ``sealed``, the secret comes sealed.
    """
    prefix = name.upper().replace("-", "_")
    secret = {"sealed": sealed} if sealed else {"value": "a value to measure with"}
    body = {
        "apiVersion": names.API_VERSION,
        "kind": names.SCOPED_SECRET_KIND,
        "metadata": {"name": name, "namespace": where, "labels": labels},
        "spec": {
            "scope": "Organization" if where == HOME else "Project",
            "override": "Merge",
            "description": "A definition to measure with",
            "env": [
                {"name": f"{prefix}_USER", "value": "bench", "sensitive": False},
                {"name": f"{prefix}_PASSWORD", **secret},
            ],
            "files": [{"path": f".{name}/config", "content": "a file to measure with\n", "sensitive": False}],
        },
    }
    return collection(names.SCOPED_SECRET_PLURAL, where), body


def large_definition(name: str, *, label: str | None = None) -> Creation:
    """Return a definition of as many secret variables as there may be.

    Args:
        name: Its name.
        label: The value of the floor's label; without one the definition comes to our webhooks.
    """
    value = {"value": "a value to measure with"}
    body = {
        "apiVersion": names.API_VERSION,
        "kind": names.SCOPED_SECRET_KIND,
        "metadata": {"name": name, "namespace": PODS, "labels": {FLOOR_LABEL: label} if label else {}},
        "spec": {"scope": "Project", "env": [{"name": f"LARGE_{number}", **value} for number in range(ENTRIES)]},
    }
    return collection(names.SCOPED_SECRET_PLURAL, PODS), body


def waiting_pods(count: int, size: int) -> Iterator[Creation]:
    """Yield so many pods that opt in, spread over the projects that a number of definitions fills."""
    projects = (size - len(REFERENCES)) // PER_NAMESPACE
    for number in range(count):
        yield collection("pods", project_namespace(number % projects)), pod(f"waiting-{number}")


def job_pod(name: str, *, new: bool = False) -> dict[str, Any]:
    """Return the pod of one job of a CI engine, which writes values and an annotation of its own into each.

    Args:
        name: Its name, which is in its values.
        new: Whether also a variable has a name of its own, as in a job that no other job resembles.
    """
    body = pod(name)
    body["metadata"]["annotations"]["ci.example/job"] = name
    for container in body["spec"]["containers"]:
        container["env"] = [{**each, "value": f"{each['value']} of {name}"} for each in container["env"]]
        container["env"] += [{"name": f"OF_{name.upper().replace('-', '_')}", "value": ""}] if new else []
    return body


def pod(name: str, floor: str | None = None, image: str = "busybox:1.37") -> dict[str, Any]:
    """Return a pod of two containers, as CI systems make them.

    Args:
        name: Its name.
        floor: The value of the floor's label; without one the pod opts in with ours. With one, its annotation is of
            the same size and not the operator's.
        image: What its containers run, which end at once.
    """
    label = {FLOOR_LABEL: floor} if floor else {names.INJECT_LABEL: names.INJECT_VALUE}
    annotation = other_words(names.SECRETS_ANNOTATION) if floor else names.SECRETS_ANNOTATION
    variables = [{"name": f"CI_VARIABLE_{number}", "value": f"value {number}"} for number in range(12)]
    container = {"image": image, "imagePullPolicy": "Never", "command": ["true"], "env": variables}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": name,
            "labels": {RUN_LABEL: "true", **label},
            "annotations": {annotation: ", ".join(REFERENCES)},
        },
        "spec": {
            "restartPolicy": "Never",
            "hostNetwork": True,
            # A token's volume of its own would hide what ours costs.
            "automountServiceAccountToken": False,
            "containers": [{"name": role, **container} for role in ("build", "helper")],
        },
    }


def job(template: dict[str, Any]) -> dict[str, Any]:
    """Return a Job that runs a pod once, of the same name."""
    metadata = {key: value for key, value in template["metadata"].items() if key != "name"}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": template["metadata"]["name"], "labels": {RUN_LABEL: "true"}},
        "spec": {"backoffLimit": 0, "template": {"metadata": metadata, "spec": template["spec"]}},
    }
