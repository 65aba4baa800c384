"""``python -m tests.attacks [ids…]``: run the mutants of attacks; each must fail the test that is named for it."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from tests.attacks.catalogue import ATTACKS
from tests.attacks.runner import Verdict, run_all

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.attacks.runner import Result


def main(arguments: Sequence[str]) -> int:
    """Run the mutants, and return 0 when each of them was killed."""
    parser = argparse.ArgumentParser(prog="make mutants", description=__doc__)
    parser.add_argument("ids", nargs="*", metavar="ID", help="ids of attacks; all by default")
    parser.add_argument("--list", action="store_true", help="print the catalogue and run nothing")
    parser.add_argument("--jobs", type=int, choices=(1, 2), default=2, help="mutants at a time (default: 2)")
    parser.add_argument("--timeout", type=float, default=300.0, metavar="SECONDS", help="for one mutant (default: 300)")
    options = parser.parse_args(arguments)
    unknown = set(options.ids) - {attack.id for attack in ATTACKS}
    if unknown:
        parser.error(f"unknown ids: {', '.join(sorted(unknown))}; --list prints all")
    chosen = [attack for attack in ATTACKS if not options.ids or attack.id in options.ids]
    if options.list:
        for attack in chosen:
            print(f"{attack.id}: {attack.attack}\n    {attack.result}\n    {attack.killer}")
        return 0
    results = []
    for result in run_all(chosen, jobs=options.jobs, timeout=options.timeout):
        results.append(result)
        line = f"[{len(results)}/{len(chosen)}] {result.attack.id} {result.verdict} in {result.seconds:.0f} s"
        print(f"{line}\n    {result.failure}" if result.failure else f"{line}\n{result.output}", flush=True)
    print(table(results))
    return 0 if all(result.verdict is Verdict.KILLED for result in results) else 1


def table(results: Sequence[Result]) -> str:
    """Return one line for each mutant, in the order of the catalogue."""
    order = [attack.id for attack in ATTACKS]
    width = max(len(result.attack.id) for result in results)
    rows = [
        f"{result.attack.id:<{width}}  {result.verdict:<9}  {result.seconds:4.0f} s  {result.attack.killer}"
        for result in sorted(results, key=lambda result: order.index(result.attack.id))
    ]
    killed = sum(result.verdict is Verdict.KILLED for result in results)
    return "\n".join(["", *rows, f"{killed} of {len(results)} mutants were killed"])


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)
