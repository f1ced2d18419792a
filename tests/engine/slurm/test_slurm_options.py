"""The options after ``--slurm``, and the batch script made from them."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from gputrain.engine.common.errors import BadInput
from gputrain.engine.slurm import slurm_options
from gputrain.engine.slurm.batch_script import batch_script


def test_options_and_what_follows_from_them() -> None:
    found = slurm_options.parse(
        "partition=gpu, nodes=2,gpus-per-node=a100:4,time=4:00:00,nodelist=node[1,3-4],qos=high"
    )
    assert (found.ranks, found.ranks_per_node, found.gpus_per_node, found.gpu_kind) == (8, 4, 4, "a100")
    assert (found.time_limit, found.signal, found.partition) == (4 * 3600, "USR1@120", "gpu")
    assert found.given["nodelist"] == "node[1,3-4]"
    # Of a short job a quarter of its time is for the checkpoint; the user may say more.
    assert slurm_options.parse("time=2").signal == "USR1@30"
    assert slurm_options.parse("time=2,signal=TERM@60").signal == "TERM@60"
    assert slurm_options.parse("cpus_per_task=8").cpus_per_task == 8


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("30", 1800), ("1:30", 90), ("4:00:00", 14400), ("2-0", 172800), ("1-12:30", 131400), ("1:2:3:4", 0), ("x", 0)],
)
def test_time_limits(text: str, seconds: int) -> None:
    assert slurm_options.seconds_of(text) == seconds


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("partiton=gpu", r"--slurm: unknown option 'partiton'; did you mean 'partition'\? \(all: partition, nodes, "),
        ("nodes=0", "--slurm: nodes must be a whole number from 1 to 100000, got '0'"),
        ("nodes=²", "--slurm: nodes must be a whole number"),
        ("gpus-per-node=0", "gpus-per-node must be at least 1"),
        ("gpus-per-node=four", "gpus-per-node must be a number, or KIND:NUMBER such as a100:4, got 'four'"),
        ("gpus-per-node=4,ntasks-per-node=2", "ntasks-per-node must be gpus-per-node, 4, one rank for each GPU"),
        ("time=soon", "time must be MINUTES, HOURS:MINUTES:SECONDS or DAYS-HOURS, such as 4:00:00, got 'soon'"),
        ("time=0", "time must be MINUTES"),
        ("account", "account has no value; write account=VALUE"),
        ("qos=a,qos=b", "qos is given twice"),
        ("partition=$(reboot)", "partition must be a name, got"),
        ("account=a\n#SBATCH --uid=0", "account must be a name, got"),
        ("mem=lots", "mem must be a size, such as 64G, got 'lots'"),
        ("signal=KILL@60", "signal must be USR1@SECONDS or TERM@SECONDS before the time limit"),
        ("", "unknown option ''"),
    ],
)
def test_a_wrong_option_is_named(text: str, error: str) -> None:
    with pytest.raises(BadInput, match=error):
        slurm_options.parse(text)


def test_the_script_runs_in_a_folder_with_any_name(tmp_path: Path) -> None:
    """bash itself runs it, with programs that note their arguments instead of Slurm's."""
    run = tmp_path / "a 'quoted' $(touch injected) \"run\""
    run.mkdir()
    options = slurm_options.parse("nodes=2,gpus-per-node=2,cpus-per-task=3,account=team,time=10")
    text = batch_script(run, "my run; $(touch injected)", options, "/opt/my python/bin/python")
    script = tmp_path / "slurm.sh"
    script.write_text(text)
    lines = text.splitlines()
    assert lines[0] == "#!/bin/bash"
    assert {"#SBATCH --requeue", "#SBATCH --signal=USR1@120", "#SBATCH --gpus-per-node=2", "#SBATCH --account=team",
            "#SBATCH --job-name=my-run-touch-injected", "#SBATCH --cpus-per-task=3", "#SBATCH --open-mode=append",
            "#SBATCH --ntasks-per-node=2"} <= set(lines)  # fmt: skip
    programs, noted = tmp_path / "bin", tmp_path / "noted"
    programs.mkdir()
    note = f'printf "%s\\n" "${{0##*/}}" "$@" >> {noted}'
    (programs / "srun").write_text(
        f'#!/bin/sh\n{note}\n[ -z "$LEFT" ] || echo "$LEFT 1" > "$RUN/slurm.exit"\nexit 137\n'
    )
    (programs / "scontrol").write_text(f"#!/bin/sh\n{note}\n")
    for program in programs.iterdir():
        program.chmod(0o700)

    def start(left: str) -> tuple[int, list[str]]:
        noted.write_text("")
        environ = {"PATH": f"{programs}:/usr/bin:/bin", "SLURM_JOB_ID": "7", "LEFT": left, "RUN": str(run)}
        done = subprocess.run(["bash", str(script)], env=environ, cwd=tmp_path, check=False, timeout=30)
        return done.returncode, noted.read_text().splitlines()

    # The run's own exit code counts, not that of srun; without one that of srun.
    code, calls = start("75")
    assert code == 75
    srun = ["srun", "--nodes=2", "--ntasks=4", "--ntasks-per-node=2", "--cpus-per-task=3", "--wait=300"]
    assert calls == [*srun, "/opt/my python/bin/python", "-P", "-m", "gputrain.engine", str(run), "--job",
                     "scontrol", "requeue", "7"]  # fmt: skip
    assert start("0")[0] == 0
    code, calls = start("")
    assert (code, "requeue" in calls) == (137, False)
    # Asked to stop: it is not requeued.
    (run / "slurm.stop").write_text("7\n")
    code, calls = start("75")
    assert (code, "requeue" in calls) == (3, False)
    # That of an earlier job of the run says nothing.
    (run / "slurm.stop").write_text("6\n")
    assert "requeue" in start("75")[1]
    assert not list(tmp_path.rglob("injected"))
