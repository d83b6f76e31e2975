"""Times `python -m pip --version` against `python -m pip_sharedcache --version`, taking turns.

python benchmarks/startup.py [--runs N]
"""

from __future__ import annotations

import argparse

from measuring import Bench, add_options, figure, median, table, work_directory

MODULES = ("pip", "pip_sharedcache")


def main() -> None:
    """Parse the command line, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_options(parser, runs=20)
    options = parser.parse_args()
    walls: dict[str, list[float]] = {module: [] for module in MODULES}
    with work_directory(options) as work:
        bench = Bench(work, options)
        for turn in range(options.runs + 1):  # the first one warms the disk's cache
            for module in MODULES:
                cost = bench.run([bench.python, "-m", module, "--version"])
                if turn:
                    walls[module].append(cost.wall)
        print(f"{bench.header(f'medians of {options.runs}')}\n")
    plain, ours = (1000 * median(walls[module]) for module in MODULES)
    rows = [("pip --version", figure(plain)), ("pip_sharedcache --version", figure(ours))]
    print(table(("command", "wall ms"), [*rows, ("difference", figure(ours - plain))]))


if __name__ == "__main__":
    main()
