"""Writes TensorBoard event files with the package ``tensorboard``; imports neither torch nor TensorFlow."""

from __future__ import annotations

from pathlib import Path

from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.compat.proto.tensor_pb2 import TensorProto
from tensorboard.compat.proto.types_pb2 import DT_STRING
from tensorboard.plugins.hparams import summary_v2 as hparams
from tensorboard.plugins.text.metadata import create_summary_metadata
from tensorboard.summary.writer.event_file_writer import EventFileWriter

from gputrain.engine.loggers.logged_values import Fact, Repeated, Scalars, Started, Text


class TensorBoardLogger:
    """Writes into `folder`; view it with ``tensorboard --logdir FOLDER``."""

    def __init__(self, folder: Path, run_id: str) -> None:
        self._writer = EventFileWriter(str(folder))
        self._run_id = run_id
        self._wrote_settings = False
        self.hint = f"tensorboard --logdir {folder}"
        """The command that shows the result."""

    def take(self, fact: Fact) -> None:
        """Write one fact. Raises OSError."""
        match fact:
            case Scalars():
                values = [Summary.Value(tag=tag, simple_value=value) for tag, value in fact.values.items()]
                self._write(values, fact.step, fact.wall)
            case Text():
                tensor = TensorProto(dtype=DT_STRING, string_val=[fact.text.encode()])
                metadata = create_summary_metadata(display_name=fact.tag, description="")
                self._write([Summary.Value(tag=fact.tag, tensor=tensor, metadata=metadata)], fact.step, fact.wall)
            case Started():
                self._settings(fact)
            case Repeated():
                # TensorBoard's restart marker: it discards its values from that step on.
                mark = SessionLog(status=SessionLog.START)
                self._writer.add_event(Event(wall_time=fact.wall, step=fact.step, session_log=mark))

    def _write(self, values: list[Summary.Value], step: int, wall: float) -> None:
        self._writer.add_event(Event(wall_time=wall, step=step, summary=Summary(value=values)))

    def _settings(self, fact: Started) -> None:
        if self._wrote_settings:
            return  # TensorBoard shows one set of hyperparameters per run.
        self._wrote_settings = True
        session = hparams.hparams_pb(dict(fact.settings), trial_id=self._run_id, start_time_secs=fact.wall)
        self._writer.add_event(Event(wall_time=fact.wall, step=0, summary=session))

    def flush(self) -> None:
        """Write buffered facts to the file. Raises OSError."""
        self._writer.flush()

    def close(self, exit_code: int) -> None:
        """Close the file; TensorBoard has no exit status."""
        self._writer.close()
