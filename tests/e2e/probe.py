"""What a test's container looks at and prints, and what it must print.

A container never prints a value: it prints digests, modes and owners, one line for each thing that it was asked about.
The probe knows each line beforehand, so that a test compares whole logs: a line too many is as wrong as one too few.
"""

from __future__ import annotations

import base64
import hashlib
import json
from dataclasses import dataclass, field
from typing import Any

from scoped_secrets import names
from tests.cluster.node_image import IMAGE

RESOLUTION_PATH = f"{names.MOUNT_PATH}/{names.RESOLUTION_FILE}"
RELEASE_PATH = "/tmp/go"  # noqa: S108 - in a container of our own

HOLDING = "holding"

# Busybox has no printenv, and a shell's variable keeps every byte of the value. Backquotes, and no dollar before
# another or before a parenthesis, because those belong to the kubelet.
SCRIPT = r"""
digest() { sha256sum | cut -c -64; }
while [ $# -gt 0 ]; do
  kind=$1 name=$2 result=
  shift 2
  case $kind in
  variable)
    eval "value=\${$name-} is_set=\${$name+yes}"
    if [ "$is_set" ]; then result=`printf %s "$value" | digest`; else result=unset; fi ;;
  argument) result=`printf %s "$1" | digest`; shift ;;
  zero) result=`printf %s "$0" | digest` ;;
  file)
    if [ -r "$name" ]; then result="`digest <"$name"` `stat -L -c '%a %u:%g' "$name"`"
    elif [ -e "$name" ]; then result=unreadable
    else result=absent; fi ;;
  owner) result=`stat -L -c '%a %u:%g' "$name"` ;;
  folder) result=`ls -A "$name" | tr '\n' ' '` ;;
  public-key) result=`ssh-keygen -y -f "$name"` ;;
  run) result=`"$name"` ;;
  write) if touch "$name" 2>/dev/null; then result=written; else result=refused; fi ;;
  document) result=`base64 -w 0 "$name"` ;;
  hold) echo holding; until [ -e "$name" ]; do sleep 0.1; done; result=released ;;
  esac
  echo "$kind $name $result"
done
"""


@dataclass(slots=True)
class Probe:
    """Questions to one container, each with its only right answer."""

    arguments: list[str] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)
    alternatives: list[list[str]] = field(default_factory=list)

    def variable(self, name: str, value: str) -> Probe:
        """Expect a variable with exactly this value."""
        return self._ask("variable", name, _digest(value.encode()))

    def no_variable(self, name: str) -> Probe:
        """Expect that a variable is not there, not even empty."""
        return self._ask("variable", name, "unset")

    def argument(self, name: str, text: str, value: str) -> Probe:
        """Expect that an argument, written as ``text`` in the pod, arrives as ``value``."""
        self._ask("argument", name, _digest(value.encode()))
        self.arguments.append(text)
        return self

    def zero(self, value: str) -> Probe:
        """Expect the last word of the command."""
        return self._ask("zero", "command", _digest(value.encode()))

    def file(self, path: str, content: str | bytes, mode: str, owner: str = "0:0") -> Probe:
        """Expect a file with exactly these bytes, with mode and owner as ``stat`` shows them."""
        data = content.encode() if isinstance(content, str) else content
        return self._ask("file", path, f"{_digest(data)} {mode} {owner}")

    def owner(self, path: str, mode_and_owner: str) -> Probe:
        """Expect a folder with this mode and owner, as ``stat`` shows them."""
        return self._ask("owner", path, mode_and_owner)

    def no_file(self, path: str) -> Probe:
        """Expect that nothing is there."""
        return self._ask("file", path, "absent")

    def folder(self, path: str, *entries: str) -> Probe:
        """Expect exactly these entries in a folder."""
        return self._ask("folder", path, "".join(f"{entry} " for entry in sorted(entries)))

    def public_key(self, path: str, key: str) -> Probe:
        """Expect that ssh-keygen accepts a private key's file and finds this public key in it."""
        return self._ask("public-key", path, key)

    def run(self, path: str, output: str) -> Probe:
        """Expect that a file can be executed."""
        return self._ask("run", path, output)

    def write(self, path: str, *, is_allowed: bool) -> Probe:
        """Expect that a path can or cannot be written."""
        return self._ask("write", path, "written" if is_allowed else "refused")

    def hold(self) -> Probe:
        """Let the container wait until somebody creates a file in it."""
        self.lines.append(HOLDING)
        return self._ask("hold", RELEASE_PATH, "released")

    def document(self, path: str = RESOLUTION_PATH) -> Probe:
        """Have a JSON document without values printed, for ``documents``."""
        self.arguments += ["document", path]
        return self

    def either(self, other: Probe) -> Probe:
        """Take the answers that another probe expects to the same questions, as a whole, as right too."""
        self.alternatives.append(other.lines)
        return self

    def check(self, log: str) -> None:
        """Compare what the container printed with what it must print."""
        printed = [line for line in log.splitlines() if not line.startswith("document ")]
        assert printed == self.lines or printed in self.alternatives, printed

    def _ask(self, kind: str, name: str, answer: str) -> Probe:
        self.arguments += [kind, name]
        self.lines.append(f"{kind} {name} {answer}")
        return self


def documents(log: str) -> dict[str, Any]:
    """Return the JSON documents that a container printed, by path."""
    printed = (line.split(" ", 2) for line in log.splitlines() if line.startswith("document "))
    return {path: json.loads(base64.b64decode(text)) for _, path, text in printed}


def container(probe: Probe, name: str = "main", **fields: Any) -> dict[str, Any]:
    """Return the body of a container that answers a probe."""
    return {
        "name": name,
        "image": IMAGE,
        "imagePullPolicy": "Never",
        "command": ["sh", "-c", SCRIPT, "probe"],
        "args": list(probe.arguments),
        **fields,
    }


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
