# The interpreter imports this file at its start, because `gputrain-tui exec` puts its folder on PYTHONPATH.
# It must parse on every Python, and it must never print, raise or change what the script sees. It imports nothing that
# is not there already: a module of the standard library would hide one of the script's own with the same name.
import os
import sys

_HERE = os.path.dirname(os.path.abspath(__file__))


class _Waiting(object):
    """In `sys.meta_path` until one of `packages` is imported: only then is the rest of the probe."""

    packages = (
        "gputrain",
        "keras",
        "lightning",
        "mlflow",
        "pytorch_lightning",
        "tensorboardX",
        "timm",
        "torch",
        "torchdata",
        "tqdm",
        "transformers",
        "ultralytics",
        "wandb",
    )

    def __init__(self, folder):
        self.folder = folder

    def find_spec(self, name, path=None, target=None):
        """What the probe's own finder says from then on; None before."""
        if name.partition(".")[0] not in self.packages:
            return None
        self.packages = ()
        try:
            finder = _start_probe(self.folder)
            # In its place: who goes through the list at this moment must meet each finder once.
            sys.meta_path[sys.meta_path.index(self)] = finder
        except Exception:  # noqa: BLE001 - the script comes first: without the probe it is only watched from outside
            return None
        return finder.find_spec(name, path, target)


def _is_here(entry):
    try:
        return os.path.abspath(entry or os.curdir) == _HERE
    except Exception:  # noqa: BLE001 - the current folder was deleted, an entry is no text
        return False


def _wait():
    folder = os.environ.get("GPUTRAIN_EXEC_PAGES")
    if sys.version_info < (3, 9) or os.environ.get("GPUTRAIN_EXEC_DISABLE") == "1":
        return
    if folder and os.path.isdir(folder):
        waiting = _Waiting(folder)
        sys.meta_path.insert(0, waiting)
        for name in waiting.packages:
            if name in sys.modules:
                # A .pth file imports it in every process.
                waiting.find_spec(name)
                return


def _start_probe(folder):
    from importlib.util import module_from_spec, spec_from_file_location

    home = os.path.dirname(_HERE)
    spec = spec_from_file_location(
        "_gputrain_probe", os.path.join(home, "__init__.py"), submodule_search_locations=[home]
    )
    package = module_from_spec(spec)
    sys.modules["_gputrain_probe"] = package
    spec.loader.exec_module(package)
    from _gputrain_probe import start

    return start.install(folder)


def _run_shadowed():
    """Run the sitecustomize that this one hides, as the interpreter would have done (Debian and conda have one)."""
    if sys.version_info < (3, 5):
        return
    from _frozen_importlib import module_from_spec
    from _frozen_importlib_external import PathFinder

    spec = PathFinder.find_spec("sitecustomize", sys.path)
    if spec is None or spec.loader is None:
        return
    module = module_from_spec(spec)
    sys.modules["sitecustomize"] = module
    spec.loader.exec_module(module)


# The script's own search path is what it would be without us.
sys.path[:] = [entry for entry in sys.path if entry != _HERE and not _is_here(entry)]
try:
    _wait()
except Exception:  # noqa: BLE001, S110 - as above
    pass
_run_shadowed()
