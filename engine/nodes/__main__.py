"""``python -P -m gputrain.engine.nodes TOKEN``: the agent of one node, started over ssh by `node_link`."""

from __future__ import annotations

import os
import sys

from gputrain.engine.nodes.node_agent import NodeAgent

if __name__ == "__main__":
    # Whatever this process or its children write is its owner's alone.
    os.umask(0o077)
    sys.exit(NodeAgent(sys.argv[1]).main())
