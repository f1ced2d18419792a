"""``gputrain-tui alerts [show | test]``: where alerts go, and a test of it."""

from __future__ import annotations

import argparse

from gputrain.engine.alerts.alert import KINDS
from gputrain.engine.alerts.alert_settings import EXAMPLE, AlertSettings, read_alert_settings, settings_file
from gputrain.engine.common.errors import EXIT_FAILED, EXIT_FINISHED
from gputrain.tui.commands.command_messages import print_error


def run(options: argparse.Namespace) -> int:
    """Print the settings, or send a test alert to each target. Returns the exit code."""
    settings = read_alert_settings()
    if not settings.targets:
        print(f"{settings_file()}: no targets yet. An example:\n\n{EXAMPLE}\n\nThen: gputrain-tui alerts test")
        return EXIT_FINISHED if options.what == "show" else EXIT_FAILED
    return _test(settings) if options.what == "test" else _show(settings)


def _show(settings: AlertSettings) -> int:
    from gputrain.engine.alerts.delivery import targets

    print(f"settings     {settings_file()}")
    for target in targets(settings):
        print(f"target       {target.label}")
    print(f"alerts       {', '.join(kind for kind in KINDS if kind in settings.kinds)}")
    print(f"slow         {settings.slow_percent:g} % slower than the run's own median for two minutes")
    print(f"stalled      {settings.stalled_minutes:g} minutes without a step")
    print(f"disk_full    {settings.disk_free_gib:g} GiB left for the run directory")
    print(f"again        after {settings.repeat_minutes:g} minutes at the earliest")
    return EXIT_FINISHED


def _test(settings: AlertSettings) -> int:
    from gputrain.engine.alerts.alert_test import send_test
    from gputrain.engine.alerts.delivery import targets

    failed = 0
    for target in targets(settings):
        answer = send_test(target)
        if answer.error:
            failed += 1
            print_error(f"{answer.label}: {answer.text}")
        else:
            print(f"{answer.label}: {answer.text}")
    return EXIT_FAILED if failed else EXIT_FINISHED
