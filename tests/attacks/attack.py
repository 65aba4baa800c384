"""What an attack is, and what a mutant is."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT: Final = Path(__file__).parents[2]

# The folders whose files a mutant may change: what is installed, and nothing of the tests.
MUTABLE: Final = ("operator/", "crds/", "helm/", "manifests/")


class MutantError(Exception):
    """A mutant that cannot be made; the message says why."""


@dataclass(frozen=True, slots=True)
class Edit:
    """One replacement in one file.

    Attributes:
        file: The file, relative to the root of the repository.
        text: The text to replace; it occurs exactly once.
        replacement: What stands there instead.
    """

    file: str
    text: str
    replacement: str

    def problem(self, root: Path = ROOT) -> str | None:
        """Return why the edit cannot be made; None when it can."""
        if not self.file.startswith(MUTABLE):
            return f"{self.file} is not below {', '.join(MUTABLE)}"
        path = root / self.file
        if not path.is_file():
            return f"{self.file} does not exist"
        count = path.read_text(encoding="utf-8").count(self.text)
        if count != 1:
            return f"{self.file} has the text to replace {count} times, not once: {self.text!r}"
        return "the replacement is the text itself" if self.text == self.replacement else None

    def apply(self, root: Path) -> None:
        """Make the edit below a root.

        Raises:
            MutantError: It cannot be made.
        """
        problem = self.problem(root)
        if problem is not None:
            raise MutantError(problem)
        path = root / self.file
        path.write_text(path.read_text(encoding="utf-8").replace(self.text, self.replacement), encoding="utf-8")


@dataclass(frozen=True, slots=True)
class Mutant:
    """A version of the code without one defense.

    Attributes:
        edits: What is changed. There are several where several defenses stand behind one another.
        test: The node id of the test that must fail then; empty for the attack's first one.
    """

    edits: tuple[Edit, ...]
    test: str = ""


@dataclass(frozen=True, slots=True)
class Attack:
    """One attack, the result of it, and what shows the result.

    Attributes:
        id: `A1` to `A49` of the list that the design started from, or a slug.
        attack: What is tried, in one sentence.
        result: What happens, in one sentence; a reason follows where the list expected something else.
        tests: Node ids of tests on a real API server.
        mutant: The mutant that one of them finds.
    """

    id: str
    attack: str
    result: str
    tests: tuple[str, ...]
    mutant: Mutant = field(repr=False)

    @property
    def killer(self) -> str:
        """Return the node id of the test that the mutant must fail."""
        return self.mutant.test or self.tests[0]


def mutant(file: str, text: str, replacement: str, *, test: str = "") -> Mutant:
    """Return a mutant of one edit."""
    return Mutant((Edit(file, text, replacement),), test)


_SENTENCES: Final = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*|A[1-9][0-9]?")


def problems(attacks: tuple[Attack, ...], root: Path = ROOT) -> Iterator[str]:
    """Yield what is wrong with a catalogue, except tests that do not exist."""
    ids = [attack.id for attack in attacks]
    yield from (f"{each}: the id stands {ids.count(each)} times" for each in sorted(set(ids)) if ids.count(each) > 1)
    for attack in attacks:
        if not _SENTENCES.fullmatch(attack.id):
            yield f"{attack.id}: an id is A1 to A99 or a slug of lower-case words"
        if not (attack.attack.endswith(".") and attack.result.endswith(".")):
            yield f"{attack.id}: attack and result are sentences"
        if not attack.tests:
            yield f"{attack.id}: no test is named"
        elif attack.killer not in attack.tests:
            yield f"{attack.id}: the mutant's test is none of the attack's"
        for edit in attack.mutant.edits:
            problem = edit.problem(root)
            if problem is not None:
                yield f"{attack.id}: {problem}"
        if not attack.mutant.edits:
            yield f"{attack.id}: the mutant changes nothing"
