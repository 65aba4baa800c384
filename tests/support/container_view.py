"""What the containers of an injected pod would see: the kubelet's rules over the patched body and the planned Secrets.

Tests of the core look at this view and not at the patch: how the patch says it is not what a job cares about.
"""

import re
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

import jsonpatch

from scoped_secrets import names
from scoped_secrets.core.decide import Granted
from scoped_secrets.core.injection.layout import BundleLayout
from scoped_secrets.core.resolution.definitions import PlainSource

_EXPANSION = re.compile(r"\$\$|\$\(([^)]*)\)")


@dataclass(frozen=True)
class View:
    """One container as its process would find it."""

    env: dict[str, str]
    """Every variable, hidden ones included."""
    files: dict[str, str] = field(default_factory=dict)
    modes: dict[str, int] = field(default_factory=dict)
    command: tuple[str, ...] = ()
    args: tuple[str, ...] = ()

    @property
    def visible(self) -> dict[str, str]:
        """Return the variables without hidden ones."""
        return {name: text for name, text in self.env.items() if not name.startswith(names.HIDDEN_VARIABLE_PREFIX)}


def patched(body: Mapping[str, Any], decision: Granted) -> dict[str, Any]:
    """Return the pod after the decision's patch, applied by a library that is not ours."""
    result: dict[str, Any] = jsonpatch.apply_patch(deepcopy(dict(body)), list(decision.injection.operations))
    return result


def views(body: Mapping[str, Any], decision: Granted) -> dict[str, View]:
    """Return what each container of the pod sees once the controller has created what was planned."""
    return views_of(patched(body, decision), _secrets(decision.injection.layout, decision.injection.resolution))


def views_of(pod: Mapping[str, Any], secrets: Mapping[str, Mapping[str, str]]) -> dict[str, View]:
    """Return what each container of a pod sees with the data of these Secrets, by Secret and key."""
    volumes = {volume["name"]: _volume_files(volume, secrets) for volume in pod["spec"].get("volumes", ())}
    containers = [*pod["spec"].get("initContainers", ()), *pod["spec"]["containers"]]
    return {container["name"]: _view(container, secrets, volumes) for container in containers}


def view(body: Mapping[str, Any], decision: Granted) -> View:
    """Return what the first container that is no init container sees."""
    return views(body, decision)[body["spec"]["containers"][0]["name"]]


def _secrets(layout: BundleLayout, resolution: str) -> dict[str, dict[str, str]]:
    secrets = {
        part.name: {
            each.data_key: source.data.decode()
            if isinstance(source := each.resolved.entry.source, PlainSource)
            else repr(source)
            for each in part.entries
        }
        for part in layout.parts
    }
    assert names.RESOLUTION_FILE not in secrets[layout.parts[0].name], "a value would be overwritten"
    secrets[layout.parts[0].name][names.RESOLUTION_FILE] = resolution
    return secrets


def _volume_files(volume: Mapping[str, Any], secrets: Mapping[str, Mapping[str, str]]) -> dict[str, tuple[str, int]]:
    files: dict[str, tuple[str, int]] = {}
    for source in volume.get("projected", {}).get("sources", ()):
        # The other sources are the API server's own: the token of the ServiceAccount.
        secret = source.get("secret", {"items": ()})
        for item in secret["items"]:
            assert item["path"] not in files, "two values would have one file"
            files[item["path"]] = secrets[secret["name"]][item["key"]], item["mode"]
    return files


def _view(
    container: Mapping[str, Any],
    secrets: Mapping[str, Mapping[str, str]],
    volumes: Mapping[str, Mapping[str, tuple[str, int]]],
) -> View:
    env: dict[str, str] = {}
    for variable in container.get("env", ()):
        reference = variable.get("valueFrom", {}).get("secretKeyRef")
        if reference is None:
            env[variable["name"]] = _expand(variable.get("value", ""), env)
        else:
            env[variable["name"]] = secrets[reference["name"]][reference["key"]]
    view = View(
        env,
        command=tuple(_expand(text, env) for text in container.get("command", ())),
        args=tuple(_expand(text, env) for text in container.get("args", ())),
    )
    for mount in container.get("volumeMounts", ()):
        sub_path = mount.get("subPath", "")
        for path, (text, mode) in volumes.get(mount["name"], {}).items():
            if sub_path == path:
                place = mount["mountPath"]
            elif not sub_path:
                place = f"{mount['mountPath']}/{path}"
            else:
                continue
            assert place not in view.files, "two values would be mounted at one path"
            view.files[place], view.modes[place] = text, mode
    return view


def _expand(text: str, env: Mapping[str, str]) -> str:
    def replacement(match: re.Match[str]) -> str:
        if match[0] == "$$":
            return "$"
        return env.get(match[1], match[0])

    return _EXPANSION.sub(replacement, text)
