#!/usr/bin/env bash
# One read of /proc/net/dev into a large buffer gives a page of it, about thirty interfaces, although the end is not reached.
# The same holds for /proc/diskstats. Needs Linux, unshare and ip; root, or user namespaces.
set -euo pipefail
source "$(dirname "$0")/common.bash"

finding_venv
cat >"$finding_work/read.py" <<'PY'
import os
import platform

from finding import report

handle = os.open("/proc/net/dev", os.O_RDONLY)
first = os.read(handle, 1 << 20)
rest = b""
while more := os.read(handle, 1 << 20):
    rest += more
seen = f"{len(first)} bytes, and {len(rest)} bytes in further reads"
print("version:  Linux", platform.release())
report("a short read of a regular file is its end: all interfaces", seen, len(first) <= os.sysconf("SC_PAGESIZE") and bool(rest))
PY
# shellcheck disable=SC2016  # expanded by the inner shell
unshare --map-root-user --net sh -c 'for i in $(seq 60); do ip link add left$i type veth peer name right$i; done; exec "$@"' \
    sh env PYTHONPATH="$finding_work" "$finding_work/venv/bin/python" "$finding_work/read.py"
