"""Read YAML and JSON whose scalars may be values: every scalar stays its text, and no error quotes any of it."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import yaml

from scoped_secrets.errors import ConfigurationError

__all__ = ["Document", "read_documents"]

_NULL: Final = "tag:yaml.org,2002:null"


class _TextLoader(yaml.SafeLoader):
    """A loader for which `8080`, `yes` and `2027-01-31` are texts; nothing but null is another type."""

    yaml_implicit_resolvers: Final = {  # type: ignore[misc]  # PyYAML declares a variable, which this class replaces.
        first: [(tag, pattern) for tag, pattern in resolvers if tag == _NULL]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }


class Document:
    """One mapping of a document, read member by member; what is wrong is named by its path, without content."""

    def __init__(self, title: str, members: Mapping[str, Any], path: str = "") -> None:
        """Take the words for the document, the mapping and its path in the document."""
        self.title = title
        self._members = members
        self._path = path

    def titled(self, title: str) -> "Document":
        """Return the same mapping under other words."""
        return Document(title, self._members, self._path)

    def __contains__(self, name: str) -> bool:
        """Tell whether a member is there and not null."""
        return self._members.get(name) is not None

    def members(self) -> Sequence[str]:
        """Return the names of the members that are there."""
        return [name for name, member in self._members.items() if member is not None]

    def text(self, name: str) -> str:
        """Return a text; empty when the member is missing."""
        found = self._members.get(name)
        if found is None:
            return ""
        if not isinstance(found, str):
            raise self._error(name, "must be a text; write it in quotes")
        return found

    def required(self, name: str) -> str:
        """Return a text that must be there."""
        found = self.text(name)
        if not found:
            raise self._error(name, "must be given")
        return found

    def texts(self, name: str) -> list[str]:
        """Return a list of texts; empty when the member is missing."""
        found = self._list(name)
        if not all(isinstance(each, str) for each in found):
            raise self._error(name, "must be a list of texts")
        return found

    def content(self, name: str) -> bytes:
        """Return a text as UTF-8, or the bytes of a scalar with the tag `!!binary`."""
        found = self._members.get(name)
        return found if isinstance(found, bytes) else self.text(name).encode()

    def child(self, name: str) -> "Document":
        """Return a mapping; an empty one when the member is missing."""
        found = self._members.get(name)
        if found is None:
            found = {}
        if not _is_mapping(found):
            raise self._error(name, "must be a mapping")
        return Document(self.title, found, f"{self._path}{name}.")

    def children(self, name: str) -> Iterator["Document"]:
        """Yield the mappings of a list; none when the member is missing."""
        for index, found in enumerate(self._list(name)):
            if not _is_mapping(found):
                raise self._error(f"{name}[{index}]", "must be a mapping")
            yield Document(self.title, found, f"{self._path}{name}[{index}].")

    def error(self, name: str, demand: str) -> ConfigurationError:
        """Return the error about a member."""
        return self._error(name, demand)

    def _list(self, name: str) -> list[Any]:
        found = self._members.get(name)
        if found is None:
            return []
        if not isinstance(found, list):
            raise self._error(name, "must be a list")
        return found

    def _error(self, name: str, demand: str) -> ConfigurationError:
        return ConfigurationError(f"{self.title}: `{self._path}{name}` {demand}")


def read_documents(content: bytes, what: str) -> list[Document]:
    """Return the mappings of a file of YAML documents; JSON is YAML.

    Args:
        content: The file.
        what: The words for the file in a message.

    Raises:
        ConfigurationError: The file is no YAML, or a document is no mapping; the message has no content of it.
    """
    failure, found = "", []
    try:
        found = list(yaml.load_all(content.decode("utf-8-sig"), Loader=_TextLoader))
    except UnicodeDecodeError:
        failure = "must be UTF-8 text"
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        failure = "must be YAML" + ("" if mark is None else f", but line {mark.line + 1} is not")
    except (yaml.YAMLError, ValueError, RecursionError):
        failure = "must be YAML"
    # Raised outside of the handler: the exception has the text, which may hold values.
    if failure:
        raise ConfigurationError(f"{what} {failure}")
    documents = []
    for number, document in enumerate(found, start=1):
        if document is None:
            continue
        if not _is_mapping(document):
            raise ConfigurationError(f"{what}: document {number} must be a mapping")
        documents.append(Document(f"document {number}", document))
    return documents


def _is_mapping(found: Any) -> bool:
    return isinstance(found, dict) and all(isinstance(key, str) for key in found)
