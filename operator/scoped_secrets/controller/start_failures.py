"""Reports containers with secrets that cannot start, and names what the operator added to them.

The kubelet's own message is in the status of the pod, and says what failed but not who added it. It is read to find
the part that failed, and never repeated: it may quote a command line with an expanded value.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from scoped_secrets import names
from scoped_secrets.core.pod import Container, Pod
from scoped_secrets.messages import quoted_names

__all__ = ["start_failures"]

_REASONS: Final = frozenset({"ContainerCannotRun", "CreateContainerError", "RunContainerError", "StartError"})
"""The kubelet's and containerd's reasons of a container that was not started."""
_CONFIGURATION: Final = "CreateContainerConfigError"
_TOO_LONG: Final = "argument list too long"
_NAMED: Final = 3


def start_failures(pod: Pod, body: Mapping[str, Any], base: str) -> tuple[str, ...]:
    """Return a message for each container that cannot start and has something of the operator.

    Args:
        pod: The pod.
        body: The same pod, with its status.
        base: The common name of its bundle Secrets.
    """
    containers = {container.name: container for container in pod.containers}
    messages = (
        _message(containers[name], text, base)
        for name, reason, text in _failures(body.get("status") or {})
        if name in containers and (reason in _REASONS or (reason == _CONFIGURATION and base in text))
    )
    return tuple(dict.fromkeys(message for message in messages if message))


def _failures(status: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    """Yield name, reason and message of each container that waits or has ended with a reason."""
    for field in ("initContainerStatuses", "containerStatuses"):
        for container in status.get(field) or ():
            for state in (container.get("state") or {}, container.get("lastState") or {}):
                for detail in (state.get("waiting") or {}, state.get("terminated") or {}):
                    yield container["name"], detail.get("reason") or "", detail.get("message") or ""


def _message(container: Container, text: str, base: str) -> str | None:
    """Return the message for one container; ``None`` when it has nothing of the operator."""
    paths = [mount.path for mount in container.mounts if mount.volume == names.VOLUME_NAME]
    if not paths:
        return None
    subject = f"container '{container.name}' cannot start"
    # Longer paths first: the operator's own folder is a part of no other path, but may be a part of a text.
    failed = next((path for path in sorted(paths, key=len, reverse=True) if f'"{path}"' in text), None)
    if failed is not None:
        return (
            f"{subject}, because '{failed}', which the operator mounts, cannot be made in it; choose another path, or "
            "give the file `env` and no `path` in its definition"
        )
    variables = [v.name for v in container.env if v.secret is not None and v.secret.startswith(base)]
    if _TOO_LONG in text:
        return (
            f"{subject}, because its variables and arguments are longer than Linux accepts; {len(variables)} of the "
            "variables are of bundles, so reference fewer bundles or put large values into files"
        )
    if base in text:
        return f"{subject}, because its bundle Secret lacks a key; delete the pod and create it again"
    return f"{subject}; the operator added {_parts(variables, paths)}, see the container's state for the cause"


def _parts(variables: Iterable[str], paths: Iterable[str]) -> str:
    visible = [name for name in variables if not name.startswith(names.HIDDEN_VARIABLE_PREFIX)]
    files = [path for path in paths if path != names.MOUNT_PATH]
    parts = [f"the volume {names.MOUNT_PATH}"]
    if files:
        parts.append(f"the files {quoted_names(files, _NAMED)}")
    if visible:
        parts.append(f"the variables {quoted_names(visible, _NAMED)}")
    return ", ".join(parts)
