"""Print what lies in an environment (support/trees.py), in JSON: tree.py DIRECTORY."""

from __future__ import annotations

import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from support.plain import node_to_json
from support.trees import snapshot

if __name__ == "__main__":
    found = snapshot(Path(sys.argv[1]))
    print(json.dumps({path: node_to_json(node) for path, node in found.items()}))
