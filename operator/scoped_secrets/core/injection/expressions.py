"""``${secrets.NAME.KEY}`` in commands, arguments and values (DESIGN section 8).

The expression becomes the kubelet's own ``$(VARIABLE)``, and the variable a reference into the bundle Secret, so that
the value never enters the pod's spec.
"""

import hashlib
import re
from collections.abc import Mapping

from scoped_secrets import names
from scoped_secrets.errors import DeniedError
from scoped_secrets.lazy_dataclasses import dataclass
from scoped_secrets.names import Reason

__all__ = ["Expression", "escape", "find_expressions", "hidden_variable", "rewrite"]

_EXPRESSION = re.compile(
    r"\$\{secrets\.(?P<bundle>[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?)\.(?P<key>[A-Za-z_][A-Za-z0-9_]*)\}", re.ASCII
)

_ESCAPED = re.compile(r"(?<!\$)(?:\$\$)*\$\$\{secrets\.")
"""An odd number of dollar signs before an expression: the kubelet reads ``$$(`` as text and does not expand it."""


@dataclass(frozen=True, slots=True)
class Expression:
    """A reference in a text to one variable of one bundle."""

    bundle: str
    key: str


def find_expressions(text: str, *, field: str) -> list[Expression]:
    """Return the expressions of a text in their order.

    Raises:
        DeniedError: A text begins like an expression and is not one; it would reach the job unexpanded.
    """
    if _ESCAPED.search(text):
        raise DeniedError(
            Reason.INVALID_REFERENCE,
            f"{field}: an expression must not follow a single '$', because the kubelet then does not expand it; "
            "write '$$' for a dollar sign in front of it",
        )
    found = [Expression(match["bundle"], match["key"]) for match in _EXPRESSION.finditer(text)]
    if len(found) != text.count(names.EXPRESSION_MARK):
        raise DeniedError(
            Reason.INVALID_REFERENCE,
            f"{field}: an expression must read ${{secrets.NAME.KEY}} with the name of a bundle and of one of its "
            "variables",
        )
    return found


def hidden_variable(key: str) -> str:
    """Return the name of the variable that carries one data key of the bundle Secret."""
    return f"{names.HIDDEN_VARIABLE_PREFIX}{hashlib.sha256(key.encode()).hexdigest()[:12].upper()}"


def escape(text: str) -> str:
    """Return a text that the kubelet's expansion turns into the given one."""
    return text.replace("$", "$$")


def rewrite(text: str, replacements: Mapping[Expression, str]) -> str:
    """Replace each expression in a text."""
    return _EXPRESSION.sub(lambda match: replacements[Expression(match["bundle"], match["key"])], text)
