# The interpreter imports this file at its start, because `gputrain-tui exec` puts its folder on PYTHONPATH.
# It must parse on every Python, and it must never print, raise or change what the script sees.
import os
import sys

_HERE = os.path.dirname(os.path.abspath(__file__))


def _run_shadowed():
    """Run the sitecustomize that this one hides, as the interpreter would have done (Debian and conda have one)."""
    if sys.version_info < (3, 4):
        return
    from importlib.machinery import PathFinder
    from importlib.util import module_from_spec

    spec = PathFinder.find_spec("sitecustomize", sys.path)
    if spec is None or spec.loader is None:
        return
    module = module_from_spec(spec)
    sys.modules["sitecustomize"] = module
    spec.loader.exec_module(module)


def _start_probe():
    if sys.version_info < (3, 9) or os.environ.get("GPUTRAIN_EXEC_DISABLE") == "1":
        return
    folder = os.environ.get("GPUTRAIN_EXEC_PAGES")
    if not folder or not os.path.isdir(folder):
        return
    from importlib.util import module_from_spec, spec_from_file_location

    home = os.path.dirname(_HERE)
    spec = spec_from_file_location(
        "_gputrain_probe", os.path.join(home, "__init__.py"), submodule_search_locations=[home]
    )
    package = module_from_spec(spec)
    sys.modules["_gputrain_probe"] = package
    spec.loader.exec_module(package)
    from _gputrain_probe import start

    start.install(folder)


# The script's own search path is what it would be without us.
sys.path[:] = [entry for entry in sys.path if os.path.abspath(entry or os.curdir) != _HERE]
try:
    _start_probe()
except Exception:  # noqa: BLE001, S110 - the script comes first: without the probe it is only watched from outside
    pass
_run_shadowed()
