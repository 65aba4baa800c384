"""How much the properties try."""

import importlib
from pathlib import Path

from hypothesis import settings

HERE = Path(__file__).parent


def test_a_full_run_tries_more_than_ten_thousand_examples():
    total = 0
    for module in sorted(HERE.rglob("test_*.py")):
        found = importlib.import_module(".".join(("tests.core", *module.relative_to(HERE).with_suffix("").parts)))
        for name, function in vars(found).items():
            if name.startswith("test_") and getattr(function, "is_hypothesis_test", False):
                total += function._hypothesis_internal_use_settings.max_examples
    loaded = settings.default
    assert loaded is not None
    full = settings.get_profile("full").max_examples
    assert total * full / loaded.max_examples >= 10_000
