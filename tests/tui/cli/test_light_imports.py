"""What the dashboard process does not import, and what it can do without that."""

from __future__ import annotations

import subprocess
import sys


def test_the_dashboard_never_imports_torch() -> None:
    code = (
        "import sys, gputrain.tui.app, gputrain.tui.cli.plain_output; "
        "print([name for name in ('torch', 'torchvision', 'numpy', 'gputrain.profiles') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_watching_works_without_openssl() -> None:
    """Neither asyncio nor a dashboard load it; hashes are the same, ssl can be imported later, no type is missing."""
    code = """
import sys
from gputrain.tui.terminal import lean_imports
lean_imports.without_openssl()
lean_imports.without_textual_types()
import asyncio, hashlib, hmac
import gputrain.engine.runs.event_channel
import gputrain.tui.app, gputrain.tui.screens.dashboard.dashboard_screen
assert not {"_ssl", "_hashlib", "statistics", "textual.widgets._directory_tree"} & set(sys.modules)
assert hmac.new(b"key", b"text", "md5").hexdigest() == "d0ca6177c61c975fd2f8c07d8c6528c6"
assert hashlib.sha256(b"").hexdigest().startswith("e3b0c44298fc1c14")
assert asyncio.run(asyncio.sleep(0, 7)) == 7
import ssl
assert ssl.create_default_context().check_hostname
from textual.types import IgnoreReturnCallbackType, SelectType
import textual.types, textual._types
assert sys.modules["textual.types"].DirEntry.__name__ == "DirEntry"
assert IgnoreReturnCallbackType is textual._types.IgnoreReturnCallbackType
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
