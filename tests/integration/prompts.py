"""Every command that asks a person at the terminal, with its questions in their order.

`{name}` is a secret with the variable A in the project web, which the person may change and may not copy.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["PROMPTS", "Prompt", "prompt_words"]


@dataclass(frozen=True)
class Prompt:
    """A command and its questions."""

    command: tuple[str, ...]
    questions: tuple[str, ...]


FILE, NAME = "Local file with the content of ", "Type the name of the secret to delete it: "
TWICE = ("Value for variable 'A': ", "Value for variable 'A', again: ")
HIDDEN = ("Value for variable 'A' of '{name}-new': ", "Value for variable 'A' of '{name}-new', again: ")
PLACE = ("-p", "web")
PROMPTS = {
    "create": Prompt(
        ("create", "{name}-new", "-e", "A", "-e", "B", *PLACE),
        (*TWICE, "Value for variable 'B': ", "Value for variable 'B', again: "),
    ),
    "set": Prompt(("set", "{name}", "A"), TWICE),
    "rotate": Prompt(("rotate", "{name}", "A"), TWICE),
    "clone": Prompt(("clone", "{name}", "{name}-copy"), TWICE),
    "delete": Prompt(("delete", "{name}"), (NAME,)),
    "import sem": Prompt(("import", "sem", "{sem}"), (*HIDDEN, FILE)),
    "import circleci": Prompt(("import", "circleci", "{circleci}", "--name", "{name}-new", *PLACE), HIDDEN),
    "import names": Prompt(("import", "names", "{names}"), HIDDEN),
    "verify": Prompt(("verify", "{name}", "A"), ("Value for variable 'A': ",)),
    "seal": Prompt(("seal", "-n", "{web}", "--name", "sealed", "--scope", "Project", "--env", "A"), TWICE),
}


def prompt_words(name: str, web: str, folder: Path) -> dict[str, str]:
    """Write the files that the commands read, and return what stands for the words in braces.

    Args:
        name: The secret.
        web: The namespace of the project.
        folder: Where the files go.
    """
    new = f"{name}-new"
    documents = {
        "sem": {
            "apiVersion": "v1",
            "kind": "ProjectSecret",
            "metadata": {"name": new, "project_id_or_name": "web"},
            "data": {"env_vars": [{"name": "A", "value": ""}], "files": [{"path": "/data/key", "content": ""}]},
        },
        "circleci": {"items": [{"variable": "A", "context_id": "1"}], "next_page_token": None},
        "names": {
            "apiVersion": "cli.scopedsecrets.dev/v1alpha1",
            "kind": "SecretNames",
            "secrets": [{"name": new, "scope": "Project", "project": "web", "env": [{"name": "A"}]}],
        },
    }
    for key, document in documents.items():
        (folder / key).write_text(json.dumps(document))
    return {"name": name, "web": web, **{key: str(folder / key) for key in documents}}
