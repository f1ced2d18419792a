"""The launcher with injected machines, run lists and starts: choices, plan, settings, start."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from helpers.tui.launching import (
    BENCH,
    SERVER,
    Opened,
    Starts,
    launcher,
    menu,
    opened,
    plan_text,
    press,
    row,
    settled,
    shown,
    start_button,
    verdict_text,
)
from helpers.tui.piloting import until
from textual.widgets import Input, OptionList, Static

from gputrain.engine.common.errors import EXIT_FINISHED, BadInput
from gputrain.engine.common.files import config_home
from gputrain.engine.hardware.machine import Machine
from gputrain.engine.runs.run_directory import RunDir, RunInfo, State, Status
from gputrain.profiles import catalog
from gputrain.tui.actions.launcher_choices import Choice, plan_for
from gputrain.tui.render.styled_lines import width
from gputrain.tui.screens.dashboard.dashboard_screen import DashboardScreen
from gputrain.tui.screens.help_screen import HelpScreen
from gputrain.tui.screens.launcher.attach_dialog import AttachScreen, run_text
from gputrain.tui.screens.launcher.launcher_keys import KEYS
from gputrain.tui.screens.launcher.launcher_screen import LauncherScreen
from gputrain.tui.screens.launcher.setting_dialog import SettingScreen, matching
from gputrain.tui.screens.runs.runs_screen import RunsScreen
from gputrain.tui.widgets.menu import PresetRow
from gputrain.tui.widgets.plan_view import plan_lines


@pytest.fixture
def starts(tmp_path: Path) -> Starts:
    return Starts(tmp_path)


async def test_the_detected_profile_is_on_top_and_marked_with_its_reason(starts: Starts) -> None:
    async with opened(starts) as pilot:
        rows = menu(pilot, "profiles")
        assert rows.option_count == len(catalog.profile_entries())
        first = str(rows.get_option_at_index(0).prompt)
        assert "● detected" in first
        assert "RTX 3090" in first
        assert "NVML reports NVIDIA GeForce RTX 3090, 24 GiB" in first
        others = [str(rows.get_option_at_index(i).prompt) for i in range(1, rows.option_count)]
        assert not any("detected" in other for other in others)
        assert rows.chosen == catalog.best(BENCH) == "rtx-3090-24gb"
        assert row(pilot, "profile") == "profile rtx-3090-24gb this machine"


async def test_without_a_gpu_the_cpu_is_detected(starts: Starts) -> None:
    async with opened(starts, SERVER) as pilot:
        assert menu(pilot, "profiles").chosen == "cpu"
        assert "no NVIDIA driver" in shown(pilot)


async def test_arrows_change_the_profile_and_the_plan_says_who_chose_it(starts: Starts) -> None:
    async with opened(starts) as pilot:
        await press(pilot, "down")
        name = menu(pilot, "profiles").chosen
        assert name == catalog.rank(BENCH)[1].name
        assert row(pilot, "profile") == f"profile {name} you"


async def test_the_preset_goes_round_by_key_and_by_click(starts: Starts) -> None:
    async with opened(starts, size=(200, 50)) as pilot:
        assert row(pilot, "prefetch_factor").startswith("prefetch_factor 4 preset balanced")
        await press(pilot, "p", "p")
        assert row(pilot, "preset") == "preset accumulated you"
        assert row(pilot, "prefetch_factor").startswith("prefetch_factor 3 preset accumulated")
        await press(pilot, "right")
        assert row(pilot, "preset") == "preset conservative you"
        await press(pilot, "left")
        assert row(pilot, "preset") == "preset accumulated you"
        spans = launcher(pilot).query_one(PresetRow).spans(60)
        before = sum(width([(text, "text")]) for text, name in spans[:2])
        await pilot.click(PresetRow, offset=(before + 4, 1))
        await settled(pilot)
        assert row(pilot, "preset") == "preset aggressive you"


def test_where_names_do_not_fit_the_preset_row_counts() -> None:
    presets = PresetRow(id="presets")
    presets._names, presets._chosen = ("conservative", "balanced", "aggressive"), "aggressive"
    assert "".join(text for text, _ in presets.spans(30)) == " ◂ ● aggressive  3 of 3 ▸ "
    assert presets.spans(30)[0][1] == "balanced"
    assert presets.spans(30)[-1][1] == "conservative"


async def test_a_recipe_without_its_data_is_refused_with_a_message(starts: Starts) -> None:
    async with opened(starts) as pilot:
        assert not start_button(pilot).disabled
        menu(pilot, "recipes").focus()
        while menu(pilot, "recipes").chosen != "imagenet-resnet50":
            await press(pilot, "down")
        assert row(pilot, "model").startswith("model resnet50 recipe imagenet-resnet50")
        assert "VRAM" in plan_text(pilot)
        assert "activations" in plan_text(pilot)
        assert verdict_text(pilot).startswith("■ cannot start: data_dir: the folder with the images is missing")
        assert start_button(pilot).disabled
        await press(pilot, "enter")
        assert starts.asked == []


async def test_a_data_folder_mends_it(starts: Starts, tmp_path: Path) -> None:
    for split in ("train", "val"):
        (tmp_path / "images" / split / "rose").mkdir(parents=True)
        (tmp_path / "images" / split / "rose" / "1.jpg").touch()
    async with opened(starts) as pilot:
        menu(pilot, "recipes").focus()
        await press(pilot, "end")
        data = launcher(pilot).query_one("#data", Input)
        data.value = str(tmp_path / "missing")
        await pilot.pause()
        await settled(pilot)
        assert "does not exist" in verdict_text(pilot)
        data.focus()
        data.value = str(tmp_path / "images")
        await pilot.pause()
        await settled(pilot)
        assert not start_button(pilot).disabled
        # In the field Enter takes the folder; only the next one starts.
        await pilot.press("enter")
        await pilot.pause()
        assert starts.asked == []
        assert pilot.app.focused is launcher(pilot).query_one("#plan")


async def test_enter_starts_the_plan_and_opens_its_dashboard(starts: Starts) -> None:
    async with opened(starts) as pilot:
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(pilot.app.screen, DashboardScreen))
        (config, origins, warnings), *more = starts.asked
        plan = plan_for(BENCH, Choice("demo"))
        assert more == []
        assert (config, origins, tuple(warnings)) == (plan.config, plan.origins, (*plan.adjustments, *plan.warnings))


@pytest.mark.parametrize("fault", [BadInput("/runs: no space left"), RuntimeError("it did not come up")])
async def test_a_failed_start_is_shown_and_can_be_tried_again(starts: Starts, fault: Exception) -> None:
    starts.fails = fault
    async with opened(starts) as pilot:
        await pilot.press("enter")
        await until(pilot, lambda: str(fault) in verdict_text(pilot))
        assert not start_button(pilot).disabled
        starts.fails = None
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(pilot.app.screen, DashboardScreen))


async def test_a_good_value_is_taken_and_taken_back(starts: Starts) -> None:
    async with opened(starts) as pilot:
        before = row(pilot, "batch_size")
        await press(pilot, "e", *"batch", "enter")
        value = pilot.app.screen.query_one("#value", Input)
        assert (value.has_focus, value.value) == (True, "64")
        await press(pilot, *"48", "enter")
        assert row(pilot, "batch_size") == "batch_size 48 you"
        await press(pilot, "r")
        assert row(pilot, "batch_size") == before


async def test_a_bad_value_is_refused_in_the_dialog_and_nothing_is_lost(starts: Starts) -> None:
    async with opened(starts) as pilot:
        await press(pilot, "e", *"batch_size", "enter", "0", "enter")
        dialog = pilot.app.screen
        assert isinstance(dialog, SettingScreen)
        assert "batch_size must be ≥ 1, got 0" in shown(pilot)
        assert dialog.query_one("#value", Input).value == "0"
        await press(pilot, "backspace", *"16", "enter")
        assert row(pilot, "batch_size") == "batch_size 16 you"


async def test_all_settings_are_listed_before_anything_is_typed(starts: Starts) -> None:
    async with opened(starts) as pilot:
        await press(pilot, "e")
        assert pilot.app.screen.query_one("#settings", OptionList).option_count == len(matching(""))
        assert f"{matching('')[0].name}: " in shown(pilot)


async def test_the_filter_moves_by_arrows_and_escape_goes_back_step_by_step(starts: Starts) -> None:
    async with opened(starts) as pilot:
        await press(pilot, "e", *"cache", "down", "enter")
        dialog = pilot.app.screen
        assert str(dialog.query_one("#about", Static).render()).startswith("cache_form: ")
        await press(pilot, "escape")
        assert dialog.query_one("#filter", Input).has_focus
        await press(pilot, "escape")
        assert pilot.app.screen is launcher(pilot)


def test_settings_are_found_by_name_and_by_what_they_are_for() -> None:
    assert [setting.name for setting in matching("cache gib")] == ["cache_gib", "remote_cache_gib"]
    assert "compile" in [setting.name for setting in matching("torch.compile")]
    assert matching("no such thing") == []
    assert not {"recipe", "profile", "preset"} & {setting.name for setting in matching("")}


def going_run(tmp_path: Path) -> RunInfo:
    directory = tmp_path / "state" / "runs" / "going"
    directory.mkdir(parents=True)
    status = Status(
        state=State.RUNNING, started=0.0, heartbeat=0.0, pid=1, pid_started=0.0, boot_id="", phase="training", epochs=9
    )
    return RunInfo(RunDir(directory), status)


async def test_a_going_run_is_offered_and_enter_attaches(starts: Starts, tmp_path: Path) -> None:
    async with opened(starts, going=[going_run(tmp_path)]) as pilot:
        await until(pilot, lambda: isinstance(pilot.app.screen, AttachScreen))
        assert "● going" in shown(pilot)
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(pilot.app.screen, DashboardScreen))
        assert starts.asked == []


async def test_escape_goes_on_to_the_launcher(starts: Starts, tmp_path: Path) -> None:
    async with opened(starts, going=[going_run(tmp_path)]) as pilot:
        await until(pilot, lambda: isinstance(pilot.app.screen, AttachScreen))
        await press(pilot, "escape")
        assert pilot.app.screen is launcher(pilot)


def test_a_run_in_one_line(tmp_path: Path) -> None:
    assert run_text(going_run(tmp_path), now=200.0) == "● going  training  epoch 1/9  for 3 min 20 s"


async def test_the_first_picture_does_not_wait_for_the_machine(starts: Starts) -> None:
    asked, answer = threading.Event(), threading.Event()

    def slow() -> Machine:
        asked.set()
        answer.wait(30)
        return BENCH

    app = Opened(LauncherScreen(slow, starts, list))
    async with app.run_test(size=(120, 35)) as pilot:
        await until(pilot, lambda: asked.is_set() and menu(pilot, "recipes").option_count > 0)
        assert "inspecting this machine" in shown(pilot)
        assert start_button(pilot).disabled
        answer.set()
        await settled(pilot)
        assert "inspecting this machine" not in shown(pilot)
        assert not start_button(pilot).disabled


async def test_a_machine_that_cannot_be_inspected_is_reported(starts: Starts) -> None:
    def broken() -> Machine:
        raise OSError("no /proc here")

    app = Opened(LauncherScreen(broken, starts, list))
    async with app.run_test(size=(120, 35)) as pilot:
        await until(pilot, lambda: "no /proc here" in verdict_text(pilot))
        assert start_button(pilot).disabled


async def test_hostile_titles_and_broken_files_do_no_harm(starts: Starts) -> None:
    folder = config_home() / "profiles"
    folder.mkdir(parents=True)
    hostile = (folder.parent / "profiles" / "evil.yaml", folder / "broken.yaml")
    known = Path(catalog.load_profile("rtx-3090-24gb").path).read_text().splitlines()
    known[0] = r'title: "[bold red]evil\e]0;owned\a[/] [@click=app.quit]x[/]"'
    hostile[0].write_text("\n".join(known))
    hostile[1].write_text("title: [")
    async with opened(starts, size=(200, 50)) as pilot:
        rows = menu(pilot, "profiles")
        first = str(rows.get_option_at_index(0).prompt)
        assert "[bold red]evil[/] [@click=app.quit]x[/] (yours)" in first
        assert "\x1b" not in shown(pilot)
        last = str(rows.get_option_at_index(rows.option_count - 1).prompt)
        assert last.startswith("■ broken")
        await press(pilot, "end")
        assert start_button(pilot).disabled
        assert "broken.yaml" in verdict_text(pilot)


@pytest.mark.parametrize("size", [(200, 50), (120, 35), (80, 24), (60, 15)])
async def test_each_size_shows_menus_plan_and_all_keys(starts: Starts, size: tuple[int, int]) -> None:
    async with opened(starts, size=size) as pilot:
        screen = shown(pilot)
        for part in ("● detected", "Built-in demo", "● balanced", "Plan", "● ready: press Enter", "enter start"):
            assert part in screen, part
        last = screen.splitlines()[-1]
        labelled = 11 if size[0] >= 120 else 8 if size[0] >= 80 else 6
        assert [f"{key.shown} {key.label}" in last for key in KEYS] == [number < labelled for number in range(11)]
        assert last.split()[-1] == ("reset" if size[0] >= 120 else "r")
        assert ("Settings and their origin" in screen) == (size[0] >= 100)


@pytest.mark.parametrize("size", [(59, 20), (80, 14), (30, 5)])
async def test_below_that_it_says_what_it_needs(starts: Starts, size: tuple[int, int]) -> None:
    async with opened(starts, size=size) as pilot:
        assert "terminal too small" in shown(pilot)
        assert "Profile" not in shown(pilot)


@pytest.mark.parametrize("columns", [24, 56, 80, 116, 200])
def test_no_line_of_the_plan_is_wider_than_its_place(columns: int, tmp_path: Path) -> None:
    plan = plan_for(BENCH, Choice("imagenet-resnet50", data=str(tmp_path), overrides=(("num_workers", 64),)))
    assert plan.refuses
    assert plan.warnings
    assert max(width(spans) for spans in plan_lines(plan, columns)) <= max(columns, 44)


async def test_help_opens_and_closes_and_q_leaves(starts: Starts) -> None:
    async with opened(starts) as pilot:
        await pilot.press("question_mark")
        await pilot.pause()
        assert isinstance(pilot.app.screen, HelpScreen)
        assert all(key.help in " ".join(str(pilot.app.screen._text).split()) for key in KEYS)
        await press(pilot, "escape", "q")
    assert pilot.app.return_value == EXIT_FINISHED
    assert starts.asked == []


async def test_in_ascii_nothing_else_is_drawn(starts: Starts, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LC_ALL", "C")
    async with opened(starts, size=(200, 50)) as pilot:
        assert "* detected" in shown(pilot)
        assert shown(pilot).isascii()


async def test_the_list_of_runs_is_a_key_away_and_comes_back(starts: Starts) -> None:
    async with opened(starts) as pilot:
        assert "l" in {key.shown for key in KEYS}
        await pilot.press("l")
        await until(pilot, lambda: isinstance(pilot.app.screen, RunsScreen))
        await pilot.press("escape")
        await until(pilot, lambda: isinstance(pilot.app.screen, LauncherScreen))
        await pilot.press("l", "q")
        await until(pilot, lambda: isinstance(pilot.app.screen, LauncherScreen))
        assert pilot.app.return_code is None
