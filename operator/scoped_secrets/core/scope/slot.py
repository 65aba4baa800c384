"""Where a definition applies and where a job stands (DESIGN section 3).

A definition has a *slot*: the place that its namespace's binding lets it take. A job has a *scope path*. A definition
never reaches outside its own path: its slot is computed from the binding, never from what the definition says about
other namespaces.
"""

from enum import StrEnum
from typing import Self

from scoped_secrets import names
from scoped_secrets.core.scope import globs
from scoped_secrets.core.scope.binding import Binding
from scoped_secrets.errors import DeniedError
from scoped_secrets.lazy_dataclasses import dataclass
from scoped_secrets.names import Reason

__all__ = ["Scope", "ScopePath", "Slot", "assign_slot"]


class Scope(StrEnum):
    """The three scopes, from wide to narrow."""

    ORGANIZATION = "Organization"
    PROJECT = "Project"
    ENVIRONMENT = "Environment"

    @property
    def narrowness(self) -> int:
        """Return 0 for the organization, 1 for a project, 2 for an environment."""
        return _NARROWNESS[self]


_NARROWNESS = {Scope.ORGANIZATION: 0, Scope.PROJECT: 1, Scope.ENVIRONMENT: 2}


@dataclass(frozen=True, slots=True)
class ScopePath:
    """Where a job stands: only definitions along this path apply to it."""

    organization: str
    project: str | None = None
    environment: str | None = None


@dataclass(frozen=True, slots=True)
class Slot:
    """The place that a definition takes; two definitions of one slot conflict."""

    organization: str
    scope: Scope
    project: str | None
    environment: str | None
    secret_name: str

    @property
    def rank(self) -> tuple[int, tuple[bool, int, int, int, str]]:
        """Return the precedence among candidates of a name: the greater rank is narrower and wins (rule A.3)."""
        return self.scope.narrowness, globs.specificity(self.environment or "")

    def applies_to(self, path: ScopePath) -> bool:
        """Tell whether a definition in this slot is a candidate for a job at this path (rule A.2)."""
        if self.organization != path.organization:
            return False
        if self.scope is Scope.ORGANIZATION:
            return True
        if path.project is None or self.project != path.project:
            return False
        if self.scope is Scope.PROJECT:
            return True
        return path.environment is not None and globs.matches(self.environment or "", path.environment)

    def overlaps(self, other: Self) -> bool:
        """Tell whether a job can exist that has candidates in both slots."""
        if self.organization != other.organization or self.secret_name != other.secret_name:
            return False
        if self.project is not None and other.project is not None and self.project != other.project:
            return False
        if self.environment is None or other.environment is None:
            return True
        return globs.overlaps(self.environment, other.environment)

    def covers(self, other: Self) -> bool:
        """Tell whether every job that has a candidate in the other slot has one in this slot."""
        if self.organization != other.organization or self.secret_name != other.secret_name:
            return False
        if self.scope is Scope.ORGANIZATION:
            return True
        if self.project != other.project:
            return False
        if self.scope is Scope.PROJECT:
            return True
        return other.environment is not None and globs.covers(self.environment or "", other.environment)


def assign_slot(
    binding: Binding | None,
    scope: Scope,
    project: str | None,
    environment: str | None,
    secret_name: str,
) -> Slot:
    """Return the slot that a definition in this namespace takes.

    Raises:
        DeniedError: The namespace may not define this (the confused-deputy rule of DESIGN section 3).
    """
    if binding is None:
        raise DeniedError(
            Reason.NAMESPACE_OUTSIDE,
            f"the namespace has no scope path; an administrator must label it {names.ORGANIZATION_LABEL} "
            f"or {names.PROJECT_LABEL}",
        )
    if binding.project is None:
        return _assign_slot_at_home(binding, scope, project, environment, secret_name)
    if project is not None and project != binding.project:
        raise DeniedError(
            Reason.SCOPE_NOT_ALLOWED,
            f"`spec.project` must be '{binding.project}', the project of this namespace; leave it out",
        )
    if scope is Scope.ORGANIZATION:
        raise DeniedError(
            Reason.SCOPE_NOT_ALLOWED,
            f"`spec.scope` Organization is only for the home of organization '{binding.organization}'; "
            "this is a project's namespace",
        )
    if binding.environment is not None and (scope is not Scope.ENVIRONMENT or environment != binding.environment):
        raise DeniedError(
            Reason.SCOPE_NOT_ALLOWED,
            f"this namespace may only define `spec.scope` Environment with `spec.environment` '{binding.environment}'",
        )
    return Slot(
        organization=binding.organization,
        scope=scope,
        project=binding.project,
        environment=environment if scope is Scope.ENVIRONMENT else None,
        secret_name=secret_name,
    )


def _assign_slot_at_home(
    binding: Binding, scope: Scope, project: str | None, environment: str | None, secret_name: str
) -> Slot:
    if scope is Scope.ORGANIZATION:
        if project is not None:
            raise DeniedError(
                Reason.SCOPE_NOT_ALLOWED,
                "`spec.project` must be left out with `spec.scope` Organization",
            )
        return Slot(binding.organization, scope, None, None, secret_name)
    if project is None:
        raise DeniedError(
            Reason.SCOPE_NOT_ALLOWED,
            f"`spec.project` must name the project: this namespace is the home of organization "
            f"'{binding.organization}'",
        )
    return Slot(
        organization=binding.organization,
        scope=scope,
        project=project,
        environment=environment if scope is Scope.ENVIRONMENT else None,
        secret_name=secret_name,
    )
