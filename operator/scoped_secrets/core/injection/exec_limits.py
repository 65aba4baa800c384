"""How much environment Linux accepts when a container starts.

``execve`` (fs/exec.c) allows 128 KiB for one string, and for all arguments and variables together a quarter of the
stack's limit: 2 MiB with the usual 8 MiB. It counts each string with its final NUL and its pointer.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from functools import partial

from scoped_secrets.core.injection.bundle_entry import BundleEntry
from scoped_secrets.core.pod import Container, Variable
from scoped_secrets.core.resolution.definitions import SecretKeySource
from scoped_secrets.errors import DeniedError
from scoped_secrets.names import Reason

__all__ = ["MAX_EXEC_BYTES", "MAX_STRING_BYTES", "check_exec_limits", "exec_bound", "is_below_limits", "texts_bound"]

MAX_STRING_BYTES = 128 * 1024
MAX_EXEC_BYTES = 2 * 1024 * 1024

_POINTER_BYTES = 8
_EXPANSION = re.compile(r"\$(?:\$|\(([^)]*)\))")
"""A dollar sign that is escaped, or the kubelet's expansion of a variable."""


def check_exec_limits(
    container: Container,
    injected: Mapping[str, BundleEntry],
    file_variables: Mapping[str, str],
    own: Sequence[Variable],
    texts: Mapping[str, str],
    bound: int | None,
) -> None:
    """Deny a container whose variables and arguments Linux would not accept.

    The size of a sealed value is known to 63 bytes, and its lower bound counts. Values of native Secrets are unknown
    here and count as empty, so that nothing is denied that could run; so are the variables of the image.

    Args:
        container: The container.
        injected: The entries of the injected variables by name.
        file_variables: The texts of the variables that hold paths of files, by name.
        own: The variables that the container itself has.
        texts: What replaces the texts of the container, by JSON pointer.
        bound: What `exec_bound` returns for the injected variables.

    Raises:
        DeniedError: One string, or all together, are too long.
    """
    if bound is not None and not texts and _is_far_below(container, own, bound):
        return
    sizes = {name: _least_size(entry) for name, entry in injected.items()}
    sizes |= {name: len(text.encode()) for name, text in file_variables.items()}
    positions = {id(variable): index for index, variable in enumerate(container.env)}
    for variable in own:
        text = texts.get(f"{container.pointer}/env/{positions[id(variable)]}/value", variable.value or "")
        sizes[variable.name] = _expanded_size(text, sizes)
    total = 0
    for name, size in sizes.items():
        total += _check_string(container, f"variable '{name}'", len(name.encode()) + 1 + size)
    for field, values in (("command", container.command), ("args", container.args)):
        for index, value in enumerate(values):
            text = texts.get(f"{container.pointer}/{field}/{index}", value)
            total += _check_string(container, f"{field}[{index}]", _expanded_size(text, sizes))
    if total > MAX_EXEC_BYTES:
        raise DeniedError(
            Reason.LIMIT_EXCEEDED,
            f"container '{container.name}' would have {total} bytes of variables and arguments; Linux starts no "
            f"program with more than {MAX_EXEC_BYTES}, so reference fewer bundles or put large values into files",
        )


def exec_bound(injected: Mapping[str, BundleEntry], file_variables: Mapping[str, str]) -> int | None:
    """Return an upper bound of what injected variables take in bytes; ``None`` when one may be expanded.

    Args:
        injected: The entries of the injected variables by name.
        file_variables: The texts of the variables that hold paths of files, by name.
    """
    texts = (*injected, *file_variables, *file_variables.values())
    if any("$" in text for text in file_variables.values()):
        return None
    return sum(_least_size(entry) for entry in injected.values()) + texts_bound(sum(map(len, texts)), len(texts))


def _is_far_below(container: Container, own: Iterable[Variable], bound: int) -> bool:
    """Tell from an upper bound that no limit can be exceeded, as of almost every container."""
    texts = [variable.value for variable in own if variable.value]
    texts += (*container.command, *container.args)
    if any("$" in text for text in texts):
        return False
    texts += [variable.name for variable in own]
    return is_below_limits(bound, texts_bound(sum(map(len, texts)), len(texts)), 0)


def texts_bound(characters: int, count: int) -> int:
    """Return an upper bound of what texts take in bytes, without expansions.

    Args:
        characters: The characters of all of them.
        count: How many there are.
    """
    return _MAX_BYTES_OF_CHARACTER * characters + _OVERHEAD * count


def is_below_limits(injected: int, own: int, expansions: int) -> bool:
    """Tell from upper bounds that a container exceeds no limit, whatever its own texts say.

    Args:
        injected: What `exec_bound` returns.
        own: What `texts_bound` returns for all texts of the container, the names of its variables included.
        expansions: How many expansions its command and its arguments may have; its variables have none.
    """
    # Each expansion is replaced by the value of one variable at most.
    return (expansions + 1) * (injected + own) < MAX_STRING_BYTES


def _check_string(container: Container, subject: str, size: int) -> int:
    size += 1
    if size > MAX_STRING_BYTES:
        raise DeniedError(
            Reason.LIMIT_EXCEEDED,
            f"container '{container.name}': {subject} would have {size} bytes; Linux starts no program with one of "
            f"more than {MAX_STRING_BYTES}, so put the value into a file",
        )
    return size + _POINTER_BYTES


def _expanded_size(text: str, sizes: Mapping[str, int]) -> int:
    """Return the size of a text after the kubelet's expansion; an unknown variable stays as it is written."""
    if "$" not in text:
        return len(text.encode())
    return sum(len(part.encode()) for part in _EXPANSION.split(text)[::2]) + sum(
        map(partial(_replacement_size, sizes), _EXPANSION.finditer(text))
    )


def _replacement_size(sizes: Mapping[str, int], match: re.Match[str]) -> int:
    name = match[1]
    return 1 if name is None else sizes.get(name, len(match[0].encode()))


def _least_size(bundle_entry: BundleEntry) -> int:
    source = bundle_entry.resolved.entry.source
    return 0 if isinstance(source, SecretKeySource) else max(0, source.size - _PADDING)


_PADDING = 63
_MAX_BYTES_OF_CHARACTER = 4
_OVERHEAD = _POINTER_BYTES + 2
"""Of each string: its pointer, its final NUL, and the equals sign of a variable."""
