"""Files of an organization with a project and its production, for commands that need no cluster."""

from pathlib import Path
from typing import Any

import yaml

from scoped_secrets import names

NAMESPACES = """
apiVersion: v1
kind: Namespace
metadata: {name: acme, labels: {scopedsecrets.dev/organization: acme}}
---
apiVersion: v1
kind: Namespace
metadata:
  name: web
  labels: {scopedsecrets.dev/organization: acme, scopedsecrets.dev/project: web}
  annotations: {scopedsecrets.dev/allow-environments: "staging, review/*"}
---
apiVersion: v1
kind: Namespace
metadata:
  name: web-production
  labels:
    scopedsecrets.dev/organization: acme
    scopedsecrets.dev/project: web
    scopedsecrets.dev/environment: production
"""


def write(folder: Path, name: str, *objects: dict[str, Any] | str) -> str:
    """Write objects into a file, and return its path."""
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    texts = (each if isinstance(each, str) else yaml.safe_dump(each, sort_keys=False) for each in objects)
    path.write_text("---\n".join(texts))
    return str(path)


def definition(location: str, scope: str = "Organization", **spec: Any) -> dict[str, Any]:
    """Return a ScopedSecret at ``namespace/name``."""
    return _object(names.SCOPED_SECRET_KIND, location, {"scope": scope, **spec})


def policy(location: str, bundle: str, **spec: Any) -> dict[str, Any]:
    """Return a SecretPolicy at ``namespace/name`` about a bundle."""
    return _object(names.SECRET_POLICY_KIND, location, {"secrets": {"names": [bundle]}, **spec})


def pod(location: str, secrets: str, **spec: Any) -> dict[str, Any]:
    """Return a pod at ``namespace/name`` that opts in."""
    namespace, _, name = location.partition("/")
    annotations = {names.SECRETS_ANNOTATION: secrets, **spec.pop("annotations", {})}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": name,
            "namespace": namespace,
            "labels": {names.INJECT_LABEL: names.INJECT_VALUE},
            "annotations": annotations,
        },
        "spec": {"containers": [{"name": "main", "image": "busybox"}], **spec},
    }


def job(location: str, secrets: str) -> dict[str, Any]:
    """Return a Job whose pods opt in."""
    body = pod(location, secrets)
    metadata = body["metadata"]
    template = {
        "metadata": {"labels": metadata["labels"], "annotations": metadata["annotations"]},
        "spec": {**body["spec"], "restartPolicy": "Never"},
    }
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": metadata["name"], "namespace": metadata["namespace"]},
        "spec": {"template": template},
    }


def _object(kind: str, location: str, spec: dict[str, Any]) -> dict[str, Any]:
    namespace, _, name = location.partition("/")
    return {
        "apiVersion": names.API_VERSION,
        "kind": kind,
        "metadata": {"namespace": namespace, "name": name},
        "spec": spec,
    }
