# What every script here shares; sourced, not run.
#
# finding_venv NAME==VERSION ...   makes a virtual environment with these packages in a temporary folder (removed at the end).
#     FINDINGS_VENV=/path/to/venv[:/another] saves downloads: packages already there at the pinned version are used from there.
# finding_python                   runs the Python program on standard input in that environment, in the temporary folder.
#     The program ends with report(...) of the module `finding`: it prints versions, the expectation and what was seen, and
#     exits with 1 when the behaviour is no longer the one recorded.

finding_work=$(mktemp -d)
trap 'rm -rf "$finding_work"' EXIT
export TMPDIR=$finding_work PYTHONWARNINGS=ignore TF_CPP_MIN_LOG_LEVEL=3 HF_HUB_OFFLINE=1 OMP_NUM_THREADS=2

finding_site() {
    "$1/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))'
}

finding_venv() {
    local python=${FINDINGS_PYTHON:-python3} missing venv
    export FINDING_PINS="$*"
    "$python" -m venv --without-pip "$finding_work/venv"
    for venv in $(tr : ' ' <<<"${FINDINGS_VENV:-}"); do
        finding_site "$venv" >>"$(finding_site "$finding_work/venv")/finding.pth"
    done
    missing=$("$finding_work/venv/bin/python" -c 'if True:
        import importlib.metadata, sys
        found = {d.name.lower(): d.version.split("+")[0] for d in reversed(list(importlib.metadata.distributions()))}
        print(*(pin for pin in sys.argv[1:] if found.get(pin.split("==")[0].lower()) != pin.split("==")[1]))' "$@")
    if [ -n "$missing" ]; then
        "$finding_work/venv/bin/python" -m ensurepip >"$finding_work/pip.log" 2>&1
        # shellcheck disable=SC2086  # one word a package
        "$finding_work/venv/bin/python" -m pip install --quiet --disable-pip-version-check $missing >>"$finding_work/pip.log" 2>&1 || {
            cat "$finding_work/pip.log" >&2
            return 1
        }
    fi
    cat >"$finding_work/finding.py" <<'PY'
import importlib.metadata
import os
import sys


def report(expected: str, seen: object, unchanged: bool) -> None:
    """Prints versions, the expectation and the behaviour; exits with 1 when the behaviour has changed."""
    for pin in os.environ["FINDING_PINS"].split():
        name, wanted = pin.split("==")
        found = importlib.metadata.version(name)
        print(f"version:  {name} {found}")
        if found.split("+")[0] != wanted:
            sys.exit(f"error: {name} {wanted} was asked for")
    print("expected:", expected)
    print("seen:    ", seen)
    print("result:  ", "as recorded" if unchanged else "CHANGED: this is no longer what is recorded here")
    sys.exit(0 if unchanged else 1)
PY
}

finding_python() {
    cat >"$finding_work/program.py"
    (cd "$finding_work" && "$finding_work/venv/bin/python" program.py)
}
