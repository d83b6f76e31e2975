"""What plain pip changes in an environment: half of many comparisons, kept between runs.

The name under which a result is kept is a digest of everything that the result depends on. With any
other pip, interpreter, wheel, option or support code there is another name, and pip runs.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from support import REPOSITORY, environments
from support.environments import NEWEST_PIP, pip_wheel
from support.trees import Node
from support.wheels import digest

Tree = Mapping[str, Node]


def tree_after(
    before: Tree,
    python: Path,
    wheels: Path,
    inputs: Sequence[object],
    code: str,
    install: Callable[[], Tree],
) -> dict[str, Node]:
    """Return the tree that plain pip makes of an environment with the tree ``before``.

    python: the interpreter of the environment, which has the newest pip.
    wheels: the directory that the index serves.
    inputs: options, requirements (no paths), umask.
    code: the module that calls this.
    install: run pip in an environment with the tree ``before``, and return its tree.
    """
    support = sorted((REPOSITORY / "tests" / "support").glob("*.py"))
    served = sorted(path for path in wheels.rglob("*") if path.is_file())
    state = [
        list(inputs),
        environments.full_version(python),
        digest(pip_wheel(NEWEST_PIP)),
        [[path.name, digest(path)] for path in (*support, Path(code))],
        [[str(path.relative_to(wheels)), digest(path)] for path in served],
    ]
    key = hashlib.sha256(json.dumps(state).encode()).hexdigest()[:32]

    def make(new: Path) -> None:
        after = install()
        changed = {
            path: node_to_json(node) for path, node in after.items() if before.get(path) != node
        }
        removed = sorted(before.keys() - after.keys())
        (new / "changes.json").write_text(json.dumps([changed, removed]), encoding="utf-8")

    found = environments.kept("plain", key, make) / "changes.json"
    changed, removed = json.loads(found.read_text(encoding="utf-8"))
    tree = {path: node for path, node in before.items() if path not in removed}
    return {**tree, **{path: node_from_json(node) for path, node in changed.items()}}


def node_to_json(node: Node) -> list[object]:
    """A node in types that JSON has."""
    rows = node.content
    return [node.kind, node.mode, rows if isinstance(rows, str) else sorted(rows)]


def node_from_json(data: list[object]) -> Node:
    """The node that node_to_json was given."""
    kind, mode, content = data
    assert isinstance(kind, str) and (mode is None or isinstance(mode, int))
    if isinstance(content, list):
        return Node(kind, mode, frozenset(tuple(row) for row in content))
    assert isinstance(content, str)
    return Node(kind, mode, content)
