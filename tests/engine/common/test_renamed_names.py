"""Old names of settings, event types and fields: every reader takes them, and none is written any more."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest

from gputrain.engine import events
from gputrain.engine.checkpointing.resume_position import check_continuation
from gputrain.engine.common import renamed_names
from gputrain.engine.common.errors import BadInput
from gputrain.engine.configuration import config_file, settings, yaml_file
from gputrain.engine.events import Hint, HintsChanged, Notice, Tuned
from gputrain.engine.launching import launch
from gputrain.engine.runs import run_directory
from gputrain.profiles import profile_files
from gputrain.tui.cli.main import main


def test_each_new_name_is_in_use_and_no_old_one_is() -> None:
    table = settings.table()
    for old, new in renamed_names.SETTINGS.items():
        assert new in table
        assert old not in table
    kinds = {kind.__struct_config__.tag: kind for kind in events.AnyEvent.__args__}
    for old, new in renamed_names.EVENT_TYPES.items():
        assert new in kinds
        assert old not in kinds
    for kind, fields in renamed_names.EVENT_FIELDS.items():
        present = kinds[kind].__struct_fields__
        assert set(fields.values()) <= set(present)
        assert not set(fields) & set(present)


@pytest.mark.parametrize(("old", "new"), renamed_names.SETTINGS.items())
def test_an_old_setting_name_works_on_the_command_line(old: str, new: str) -> None:
    section = settings.find(new).section
    default = settings.find(new).default
    for written in (old, f"{section}.{old}"):
        values, notes = settings.parse_overrides([f"{written}={default}", "epochs=3"])
        assert values == {new: default, "epochs": 3}
        now = written.replace(old, new)
        assert notes == (f"{written}={default}: {written} was renamed to {now}; the old name still works",)


def test_files_may_use_an_old_name_and_the_note_has_the_line(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text("epochs: 2\ndata:\n  colour_jitter: 0.25\n")
    config, notes = config_file.read_config_with_notes(path)
    assert config.data.color_jitter == 0.25
    assert notes == (f"{path}:3: colour_jitter was renamed to color_jitter; the old name still works",)
    config_file.write_config(path, config, {})
    assert "colour" not in path.read_text()
    assert config_file.read_config_with_notes(path) == (config, ())


def test_old_and_new_name_together_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text("data:\n  colour_jitter: 0.25\n  color_jitter: 0.5\n")
    with pytest.raises(BadInput, match=r"config.yaml:3: color_jitter is given twice"):
        config_file.read_config(path)


def test_recipes_with_an_old_name_are_planned_with_a_note(
    private_homes: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = private_homes / "config" / "recipes"
    folder.mkdir(parents=True)
    (folder / "mine.yaml").write_text("title: t\nsettings:\n  dataset: demo\n  colour_jitter: 0.3\n")
    recipe = profile_files.read_recipe(folder / "mine.yaml")
    assert recipe.settings["color_jitter"] == 0.3
    main(["train", "--recipe", "mine", "--dry-run", "epochs=1"])
    out = "".join(capsys.readouterr())
    assert "mine.yaml:4: colour_jitter was renamed to color_jitter" in " ".join(out.split())


def test_records_are_read_by_the_present_names() -> None:
    line = b'{"type":"tuned","verdict":"kept","changes":{"colour_jitter":0.1},"promised":{"low":1,"high":2},"seq":4}'
    found = events.decode(line)
    assert isinstance(found, Tuned)
    assert found.changes == {"color_jitter": 0.1}
    assert found.prediction is not None
    assert found.prediction.high == 2
    assert found.seq == 4
    assert b"promised" not in events.encode(found)
    hints = b'{"type":"hints","hints":[{"id":"a","severity":"info","title":"t","evidence":"e","action":"x",'
    hints += b'"changes":{"colour_jitter":0.0}}]}'
    changed = events.decode(hints)
    assert isinstance(changed, HintsChanged)
    assert [hint.changes for hint in changed.hints] == [{"color_jitter": 0.0}]


def test_old_names_in_texts_stay_and_hostile_lines_are_still_refused() -> None:
    text = 'the words "promised" and "others" and "colour_jitter"'
    written = events.encode(Notice(level="info", text=text))
    assert events.decode(written) == Notice(level="info", text=text)
    for line in (b'["colour_jitter"]', b'{"type":["others"]}', b'{"others":{}}', b'{"type":"hardware","others":3}'):
        assert events.decode(line) is None
    escape = b'{"type":"log","text":"\\u001b[2J","others":1}'
    assert "\x1b" not in events.decode(escape).text  # type: ignore[union-attr]


def test_an_old_event_type_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(renamed_names.EVENT_TYPES, "message", "notice")
    monkeypatch.setattr(events, "_OLD_NAMES", renamed_names.old_names_pattern())
    assert events.decode(b'{"type":"message","level":"info","text":"x"}') == Notice(level="info", text="x")


def test_a_hint_of_today_has_no_detour() -> None:
    hint = Hint(id="a", severity="info", title="t", evidence="e", action="x", changes={"num_workers": 3})
    assert not renamed_names.old_names_pattern().search(events.encode(HintsChanged(hints=(hint,))))


def test_a_plan_and_a_checkpoint_with_an_old_name_are_read() -> None:
    run = run_directory.create("demo")
    run.plan.write_bytes(msgspec.json.encode({"origins": {"colour_jitter": "you"}}))
    assert launch.read_plan(run).origins == {"color_jitter": "you"}
    now = settings.flatten(settings.build({"color_jitter": 0.2}))
    before = {("colour_jitter" if name == "color_jitter" else name): value for name, value in now.items()}
    state = {"settings": before, "classes": ["a"], "train_images": 3}
    assert check_continuation(state, now, ["a"], 3) == []
    before["colour_jitter"] = 0.4
    assert check_continuation(state, now, ["a"], 3) == [
        "color_jitter: was 0.4 and is 0.2: the training differs from here on"
    ]


def test_a_value_under_the_present_name_wins() -> None:
    values = {"color_jitter": 1, "colour_jitter": 2, "epochs": 3}
    assert renamed_names.current_settings(values) == {"color_jitter": 1, "epochs": 3}
    assert json.dumps(renamed_names.current_settings({"epochs": 3})) == '{"epochs": 3}'


def test_keys_that_are_no_settings_get_no_note(tmp_path: Path) -> None:
    document = yaml_file.parse(tmp_path / "a.yaml", "title: colour_jitter\nepochs: 3\n")
    assert document.renamed() == ()
