"""Make new values: random text of a length and an alphabet."""

import secrets
import string
from dataclasses import dataclass
from math import log2
from typing import Final

from scoped_secrets.crypto.values import SecretValue
from scoped_secrets.errors import ConfigurationError

__all__ = ["Recipe", "generate"]

_ALPHABETS: Final = {
    "alphanumeric": string.ascii_letters + string.digits,
    "hex": "0123456789abcdef",
    "letters": string.ascii_letters,
    "digits": string.digits,
    "printable": string.ascii_letters + string.digits + "!#%+,-./:=@^_~",
}
_LENGTH: Final = 32
_MAX_LENGTH: Final = 4096
# What an attacker cannot try, with a margin: NIST SP 800-57 asks for 112 bits.
_MIN_BITS: Final = 112


@dataclass(frozen=True, slots=True)
class Recipe:
    """How a value is made.

    Attributes:
        length: The number of characters.
        alphabet: The characters, each once.
    """

    length: int = _LENGTH
    alphabet: str = _ALPHABETS["alphanumeric"]

    @classmethod
    def parse(cls, text: str) -> "Recipe":
        """Return the recipe of a text such as ``length=32,alphabet=hex``; the empty text is the default one.

        Raises:
            ConfigurationError: The text is no recipe, or its values could be guessed.
        """
        parts = dict(part.partition("=")[::2] for part in text.split(",") if part)
        length = parts.pop("length", str(_LENGTH))
        alphabet = parts.pop("alphabet", "alphanumeric")
        if parts or not length.isdecimal() or alphabet not in _ALPHABETS:
            raise ConfigurationError(
                f"--generate must be such as 'length=32,alphabet=hex', with an alphabet of {', '.join(_ALPHABETS)}"
            )
        recipe = cls(int(length), _ALPHABETS[alphabet])
        least = -int(-_MIN_BITS // log2(len(recipe.alphabet)))
        if not least <= recipe.length <= _MAX_LENGTH:
            raise ConfigurationError(
                f"--generate must have a length of at least {least} with alphabet {alphabet}, so that the value cannot "
                f"be guessed, and at most {_MAX_LENGTH}"
            )
        return recipe


def generate(recipe: Recipe) -> SecretValue:
    """Return a new random value."""
    return SecretValue("".join(secrets.choice(recipe.alphabet) for _ in range(recipe.length)).encode())
