"""Kubernetes objects in YAML or JSON files, each with its file and the line of every field.

Files are read as `kubectl apply -f` reads them: several documents in a file, directories recursively, lists as their
items. A message never quotes a file, because a value may stand anywhere in it.
"""

import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import yaml

from scoped_secrets.errors import ConfigurationError

__all__ = ["Document", "FileProblem", "Manifests", "read_manifests", "read_mapping", "read_text"]

_STDIN: Final = "-"
_SUFFIXES: Final = frozenset({".json", ".yaml", ".yml"})
_MAX_BYTES: Final = 16 * 1024 * 1024
_MAX_NODES: Final = 1_000_000
"""The limit of nodes after the expansion of aliases: a small file can describe a document of any size."""
_STEP: Final = re.compile(r"([^.\[\]]+)|\[(\d+)\]")
_TIMESTAMP: Final = "tag:yaml.org,2002:timestamp"


@dataclass(frozen=True, slots=True)
class FileProblem:
    """Why a file, or a document in it, cannot be read."""

    path: str
    line: int
    message: str


@dataclass(frozen=True, slots=True)
class Document:
    """One object of a file.

    Attributes:
        path: The file, as it was given or found.
        number: The number of the document in the file, from 1.
        body: The object.
        node: The object as YAML, with the places of its parts.
    """

    path: str
    number: int
    body: Mapping[str, Any] = field(repr=False)
    node: yaml.Node = field(repr=False, compare=False)

    @property
    def kind(self) -> str:
        """Return the kind of the object."""
        return str(self.body["kind"])

    @property
    def group(self) -> str:
        """Return the API group of the object, which is empty for the core."""
        return str(self.body["apiVersion"]).rpartition("/")[0]

    @property
    def metadata(self) -> Mapping[str, Any]:
        """Return the metadata; empty when it is no object."""
        metadata = self.body.get("metadata")
        return metadata if isinstance(metadata, Mapping) else {}

    @property
    def name(self) -> str:
        """Return the name of the object; empty without one."""
        name = self.metadata.get("name")
        return name if isinstance(name, str) else ""

    def line_of(self, path: str = "") -> int:
        """Return the line of a field such as `spec.env[0].name`, or of the nearest field around it that is there."""
        node, line = self.node, _line(self.node)
        for name, index in _STEP.findall(path):
            found = _item(node, int(index)) if index else _member(node, name)
            if found is None:
                break
            node, line = found
        return line


@dataclass(frozen=True, slots=True)
class Manifests:
    """What was read.

    Attributes:
        documents: The objects, in the order of the files.
        problems: What cannot be read.
    """

    documents: tuple[Document, ...]
    problems: tuple[FileProblem, ...]

    def require_readable(self) -> None:
        """Fail with the first problem.

        Raises:
            ConfigurationError: A file cannot be read.
        """
        for problem in self.problems:
            raise ConfigurationError(f"{problem.path}:{problem.line}: {problem.message}")


def read_manifests(paths: Sequence[str]) -> Manifests:
    """Return the objects of files and of the files below directories; documents of other kinds of YAML are left out.

    Raises:
        ConfigurationError: A path does not exist.
    """
    documents: list[Document] = []
    problems: list[FileProblem] = []
    for path in _files(paths):
        found, problem = _read(path)
        documents += found
        if problem is not None:
            problems.append(problem)
    return Manifests(tuple(documents), tuple(problems))


def read_mapping(path: str) -> Mapping[str, Any]:
    """Return the one document of a file that is no Kubernetes object.

    Raises:
        ConfigurationError: The file cannot be read, or has another form.
    """
    loader = _Loader(read_text(path))
    document: object = None
    line = None
    try:
        node = loader.get_single_node()
        if node is not None:
            _check_size(node)
            _check_unique_keys(node)
            document = loader.construct_document(node)
    except _UnreadableError as error:
        line = error.line
    except yaml.MarkedYAMLError as error:
        line = _line_of_error(error)
    except (yaml.YAMLError, RecursionError, ValueError):
        line = 1
    finally:
        loader.dispose()
    # Raised outside of the handlers: the context would quote the file.
    if line is not None or not isinstance(document, dict):
        raise ConfigurationError(f"{path}:{line or 1}: must be one YAML or JSON document with fields, each once")
    return document


def read_text(path: str) -> str:
    """Return the text of a file.

    Args:
        path: The path; `-` for standard input.

    Raises:
        ConfigurationError: It cannot be read; the message has the path and nothing of the content.
    """
    try:
        data = sys.stdin.buffer.read(_MAX_BYTES + 1) if path == _STDIN else Path(path).read_bytes()
    except OSError:
        data = None
    if data is None:
        raise ConfigurationError(f"{path} cannot be read; check the path and its permissions")
    if len(data) > _MAX_BYTES:
        raise ConfigurationError(f"{path} has more than {_MAX_BYTES // 1024 // 1024} MiB; name the manifests only")
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        text = None
    # Raised outside of the handler: the context would quote the file.
    if text is None:
        raise ConfigurationError(f"{path} must be UTF-8 text")
    return text


def _files(paths: Sequence[str]) -> Iterator[str]:
    """Yield the files, each once."""
    seen: set[str] = set()
    for given in paths:
        path = Path(given)
        if given == _STDIN:
            yield given
            continue
        if not path.exists():
            raise ConfigurationError(f"{given} does not exist; name files or directories of manifests")
        found = [given] if not path.is_dir() else map(str, _below(path))
        for each in found:
            if each not in seen:
                seen.add(each)
                yield each


def _below(folder: Path) -> list[Path]:
    """Return the manifests below a folder, without hidden files and folders."""
    return sorted(
        path
        for path in folder.rglob("*")
        if path.suffix in _SUFFIXES
        and path.is_file()
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    )


class _Loader(yaml.SafeLoader):
    """Reads YAML as the API server's clients do: a time is text."""

    yaml_implicit_resolvers = {  # noqa: RUF012 - the attribute of the library
        first: [(tag, pattern) for tag, pattern in resolvers if tag != _TIMESTAMP]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }


class _UnreadableError(Exception):
    """A document that cannot be read."""

    def __init__(self, line: int, message: str) -> None:
        super().__init__(message)
        self.line = line
        self.message = message


def _read(path: str) -> tuple[list[Document], FileProblem | None]:
    """Return the objects before the first problem of a file, and the problem."""
    documents: list[Document] = []
    problem = None
    try:
        text = read_text(path)
    except ConfigurationError as error:
        return [], FileProblem(path, 1, str(error).removeprefix(f"{path} "))
    loader = _Loader(text)
    try:
        number = 0
        while loader.check_node():
            number += 1
            documents += _documents(path, number, loader)
    except _UnreadableError as error:
        problem = FileProblem(path, error.line, error.message)
    except yaml.MarkedYAMLError as error:
        problem = FileProblem(path, _line_of_error(error), "must be valid YAML or JSON")
    except (yaml.YAMLError, RecursionError, ValueError):
        problem = FileProblem(path, 1, "must be valid YAML or JSON")
    finally:
        loader.dispose()
    return documents, problem


def _documents(path: str, number: int, loader: _Loader) -> Iterator[Document]:
    node = loader.get_node()
    if node is None:
        return
    _check_size(node)
    _check_unique_keys(node)
    body = loader.construct_document(node)
    if not isinstance(body, dict) or not all(isinstance(body.get(key), str) for key in ("apiVersion", "kind")):
        return
    items = _member(node, "items")
    if body["kind"].endswith("List") and items is not None and isinstance(body.get("items"), list):
        for index, item in enumerate(body["items"]):
            found = _item(items[0], index)
            if found is not None and isinstance(item, dict) and {"apiVersion", "kind"} <= item.keys():
                yield Document(path, number, item, found[0])
        return
    yield Document(path, number, body, node)


def _check_size(node: yaml.Node) -> None:
    """Deny a document that its aliases make too large."""
    sizes: dict[int, int] = {}

    def size(part: yaml.Node) -> int:
        known = sizes.get(id(part))
        if known is None:
            # An alias of a collection within itself.
            sizes[id(part)] = _MAX_NODES + 1
            known = sizes[id(part)] = 1 + sum(map(size, _children(part)))
        return known

    if size(node) > _MAX_NODES:
        raise _UnreadableError(_line(node), "must not repeat itself with aliases; write the parts out")


def _check_unique_keys(node: yaml.Node) -> None:
    """Deny a mapping that has one key twice: programs differ in which one they take."""
    pending = [node]
    seen: set[int] = set()
    while pending:
        part = pending.pop()
        if id(part) in seen:
            continue
        seen.add(id(part))
        if isinstance(part, yaml.MappingNode):
            keys: set[str] = set()
            for key, _ in part.value:
                if isinstance(key, yaml.ScalarNode):
                    if key.value in keys:
                        raise _UnreadableError(_line(key), "must have each key once; one is there twice")
                    keys.add(key.value)
        pending += _children(part)


def _children(node: yaml.Node) -> Iterator[yaml.Node]:
    if isinstance(node, yaml.MappingNode):
        for pair in node.value:
            yield from pair
    elif isinstance(node, yaml.SequenceNode):
        yield from node.value


def _member(node: yaml.Node, name: str) -> tuple[yaml.Node, int] | None:
    """Return the value of a key, and the line of the key."""
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            if isinstance(key, yaml.ScalarNode) and key.value == name:
                return value, _line(key)
    return None


def _item(node: yaml.Node, index: int) -> tuple[yaml.Node, int] | None:
    if isinstance(node, yaml.SequenceNode) and index < len(node.value):
        return node.value[index], _line(node.value[index])
    return None


def _line(node: yaml.Node) -> int:
    return int(node.start_mark.line) + 1


def _line_of_error(error: yaml.MarkedYAMLError) -> int:
    mark = error.problem_mark or error.context_mark
    return 1 if mark is None else int(mark.line) + 1
