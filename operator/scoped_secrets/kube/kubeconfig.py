"""The parts of kubeconfig files that the client library does not read as kubectl does.

Of several files, the first one that names a context, a user or the current context decides, and files that do not exist
are passed over as long as one does.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import yaml

from scoped_secrets.errors import ConfigurationError

__all__ = ["Entry", "Kubeconfig", "read_kubeconfig", "unreadable"]

Entry: TypeAlias = Mapping[str, Any]
"""What a kubeconfig has under `contexts[].context` and `users[].user`."""


@dataclass(slots=True)
class Kubeconfig:
    """What several files say together.

    Attributes:
        paths: The files that exist and are not empty, joined as in the variable KUBECONFIG.
        current: The name of the current context; empty for none.
        contexts: The contexts by name.
        users: The users by name.
    """

    paths: str
    current: str = ""
    contexts: dict[str, Entry] = field(default_factory=dict)
    users: dict[str, Entry] = field(default_factory=dict)


def read_kubeconfig(kubeconfig: str) -> Kubeconfig:
    """Read the files of a path list.

    Raises:
        ConfigurationError: None of them exists, or one cannot be read.
    """
    named = [path for path in kubeconfig.split(os.pathsep) if path]
    present = [path for path in named if Path(path).is_file()]
    if not present:
        missing = named[0] if named else kubeconfig
        raise ConfigurationError(
            f"the kubeconfig '{missing}' does not exist; name a file with --kubeconfig or KUBECONFIG"
        )
    found = Kubeconfig("")
    read: list[str] = []
    is_readable = True
    try:
        for path in present:
            content = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
            # The library takes no empty file.
            if content:
                _add(found, content)
                read.append(path)
    except (OSError, ValueError, TypeError, KeyError, AttributeError, yaml.YAMLError):
        is_readable = False
    found.paths = os.pathsep.join(read)
    # Raised outside the handler: the errors of YAML quote what they could not read.
    if not is_readable:
        raise ConfigurationError(unreadable(kubeconfig))
    return found


def unreadable(kubeconfig: str) -> str:
    """Return the error message about files that cannot be used."""
    return f"the kubeconfig '{kubeconfig}' cannot be read; check its contexts, the one in use and its format"


def _add(found: Kubeconfig, content: Entry) -> None:
    found.current = found.current or content.get("current-context") or ""
    for each in content.get("contexts") or ():
        found.contexts.setdefault(each["name"], each.get("context") or {})
    for each in content.get("users") or ():
        found.users.setdefault(each["name"], each.get("user") or {})
