"""Record a session: a training whose data come too slowly, the hint, why, key a, and what it gained.

    python docs/record_tuning.py docs/tuning-session.txt            the demo with one worker and a slow storage
    python docs/record_tuning.py docs/script-session.txt --script   an unedited script, docs/my_train.py

Needs tmux, and about two minutes on an idle machine: beside other programs the hint predicts no rate.

Nothing in the file is written by hand: each part is the screen of a real terminal of 120×35, as tmux has it. Only the
place of the installed packages, where a log line names it, is written as ~.
"""

from __future__ import annotations

import argparse
import shlex
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).parent
DEMO = (
    "gputrain-tui train --recipe demo dataset=custom custom=slow_storage:make code_dir=docs augment=none"
    " num_workers=1 batch_size=32 width=8"
)
SCRIPT = "gputrain-tui exec -- python docs/my_train.py"
TIMEOUT = 150.0


class Session:
    """A terminal of 120×35 in a tmux server of its own."""

    def __init__(self, socket: Path) -> None:
        self._socket = str(socket)

    def tmux(self, *words: str) -> str:
        """Run a command of tmux; returns what it prints. Raises CalledProcessError."""
        command = ["tmux", "-S", self._socket, "-f", "/dev/null", *words]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout

    def start(self, command: str, home: str) -> None:
        """Run `command` from the repository's root, with runs of its own below `home`."""
        env = ["-e", f"GPUTRAIN_HOME={home}", "-e", "TERM=xterm-256color", "-e", "COLORTERM=truecolor"]
        self.tmux("new-session", "-d", "-x", "120", "-y", "35", "-c", str(HERE.parent), *env, command)

    def screen(self) -> str:
        """What is seen now."""
        shown = self.tmux("capture-pane", "-p").replace(sys.prefix, "~".ljust(len(sys.prefix)))
        return shown.replace(str(HERE.parent), "~/gputrain".ljust(len(str(HERE.parent))))

    def wait_for(self, *words: str) -> str:
        """The screen as soon as it shows one of `words`. Raises TimeoutError with what was seen instead."""
        until = time.monotonic() + TIMEOUT
        while time.monotonic() < until:
            seen = self.screen()
            if any(word in seen for word in words):
                time.sleep(1.0)  # the rest of the screen follows within a frame
                return self.screen()
            time.sleep(0.5)
        raise TimeoutError(f"none of {words} in {TIMEOUT:.0f} s; the screen was:\n{self.screen()}")


def record(session: Session) -> list[tuple[str, str]]:
    """The parts of the session: what was done, and the screen."""
    parts = [("the hint", session.wait_for("Reading files slows", "No data workers"))]
    session.tmux("send-keys", "i")
    parts.append(("key i: why", session.wait_for("decisions in order")))
    session.tmux("send-keys", "Escape")
    session.wait_for("img/s", "samples/s")
    session.tmux("send-keys", "a")
    parts.append(("key a: it is tried", session.wait_for("trying num_workers")))
    parts.append(("measured", session.wait_for("kept num_workers", "reverted to num_workers")))
    return parts


def main() -> None:
    """Write the session to the file that is named, then stop the run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("target", type=Path, help="file to write")
    parser.add_argument("--script", action="store_true", help="the session of an unedited script")
    options = parser.parse_args()
    command = SCRIPT if options.script else DEMO
    words = [sys.executable if word == "python" else word for word in shlex.split(command)[1:]]
    program = shlex.join([str(Path(sys.executable).with_name("gputrain-tui")), *words])
    with tempfile.TemporaryDirectory(prefix="gputrain-record-") as home:
        session = Session(Path(home) / "tmux")
        session.start(program, home)
        try:
            parts = record(session)
        finally:
            stop = [str(Path(sys.executable).with_name("gputrain-tui")), "stop", "last", "--now"]
            subprocess.run(["env", f"GPUTRAIN_HOME={home}", *stop], check=False, capture_output=True)
            session.tmux("kill-server")
    text = [f"$ {command}\n"]
    text += [f"--- {title} {'-' * (114 - len(title))}\n{screen.rstrip()}\n" for title, screen in parts]
    options.target.write_text("\n".join(text))


if __name__ == "__main__":
    main()
