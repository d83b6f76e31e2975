"""Times what pip_sharedcache adds to the start of pip: the same commands of both take turns.

    python benchmarks/startup.py [--runs N] [--pip VERSION]

`--version` starts pip only; `install` of what is installed already starts what installs, too.
"""

from __future__ import annotations

import argparse

from measuring import Bench, Cost, add_options, figure, median, table, work_directory

MODULES = ("pip", "pip_sharedcache")
COMMANDS = {"--version": ["--version"], "install, satisfied": ["install", "--no-index", "pip"]}


def main() -> None:
    """Parse the command line, measure, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_options(parser, runs=20)
    options = parser.parse_args()
    costs: dict[tuple[str, str], list[Cost]] = {
        (name, module): [] for name in COMMANDS for module in MODULES
    }
    with work_directory(options) as work:
        bench = Bench(work, options)
        for turn in range(options.runs + 1):  # the first one warms the disk's cache
            for name, module in costs:
                cost = bench.run([bench.python, "-m", module, *COMMANDS[name]])
                if turn:
                    costs[name, module].append(cost)
        print(f"{bench.header(f'medians of {options.runs}')}\n")
    rows = []
    for name in COMMANDS:
        wall = [1000 * median(cost.wall for cost in costs[name, module]) for module in MODULES]
        cpu = [1000 * median(cost.cpu for cost in costs[name, module]) for module in MODULES]
        rows.append([name, *map(figure, (*wall, wall[1] - wall[0], *cpu, cpu[1] - cpu[0]))])
    head = ["pip wall ms", "ours wall ms", "difference", "pip CPU ms", "ours CPU ms", "difference"]
    print(table(["command", *head], rows))


if __name__ == "__main__":
    main()
