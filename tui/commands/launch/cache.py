"""``gputrain-tui cache build|list|clear``: builds, lists and deletes caches of decoded images."""

from __future__ import annotations

import argparse
import time

import msgspec

from gputrain.engine.common.errors import EXIT_FINISHED, EXIT_STOPPED, BadInput
from gputrain.engine.common.sanitize import plain
from gputrain.engine.common.units import duration, size
from gputrain.engine.configuration import settings
from gputrain.engine.hardware.machine import inspect_machine
from gputrain.engine.jobs import build_image_cache, list_and_remove_caches
from gputrain.tui.actions.plan_from_arguments import plan_of
from gputrain.tui.commands.command_messages import fail, show_progress
from gputrain.tui.commands.runs.delete import confirmed
from gputrain.tui.render.text_table import print_table


def run(options: argparse.Namespace) -> int:
    """Run the subcommand."""
    return {"build": _build, "list": _list, "clear": _clear}[options.what](options)


def _build(options: argparse.Namespace) -> int:
    plan = plan_of(options, inspect_machine())
    # The command requests a cache even if the plan has none.
    config = settings.replace(plan.config, cache="disk") if plan.config.data.cache == "none" else plan.config
    try:
        built = build_image_cache.build(config, show_progress)
    except RuntimeError as error:
        return fail(error)
    if options.json:
        print(msgspec.json.encode(built).decode())
        return EXIT_FINISHED
    for note in built.notes:
        print(plain(note, 300))
    for reason in built.bad:
        print(f"unreadable: {plain(reason, 300)}")
    print(
        f"{built.images} images, {size(built.bytes)}, in {list_and_remove_caches.home()}; runs with cache=disk use them"
    )
    return EXIT_FINISHED


def _list(options: argparse.Namespace) -> int:
    found = list_and_remove_caches.list_caches()
    if options.json:
        for one in found:
            print(msgspec.json.encode(one).decode())
        return EXIT_FINISHED
    if not found:
        print("no caches on disk; make one with: gputrain-tui cache build")
        return EXIT_FINISHED
    rows = [
        (plain(one.id, 40), size(one.bytes), f"{duration(max(0.0, time.time() - one.used))} ago", _state(one), one.note)
        for one in found
    ]
    print_table(("cache", "size", "written", "", "contents"), rows)
    return EXIT_FINISHED


def _state(one: list_and_remove_caches.CacheInfo) -> str:
    return "in use" if one.live else ""


def _clear(options: argparse.Namespace) -> int:
    if bool(options.cache) == options.all:
        raise BadInput("name the caches to delete (list: gputrain-tui cache list), or --all")
    known = [one for one in list_and_remove_caches.list_caches() if not one.live] if options.all else []
    names = [one.id for one in known] if options.all else options.cache
    if not names:
        print("no unused caches")
        return EXIT_FINISHED
    if not confirmed(
        f"delete {len(names)} caches?" if len(names) > 1 else f"delete {plain(names[0], 40)}?", yes=options.yes
    ):
        return EXIT_STOPPED
    for name in names:
        deleted = list_and_remove_caches.clear(name)
        print(f"deleted {deleted.id} ({size(deleted.bytes)})")
    return EXIT_FINISHED
