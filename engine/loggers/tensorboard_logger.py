"""Facts as TensorBoard's event files, by the package ``tensorboard`` alone: neither torch nor TensorFlow is loaded."""

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
    """Writes into `folder`; a page for it: ``tensorboard --logdir FOLDER``."""

    def __init__(self, folder: Path, run_id: str) -> None:
        self._writer = EventFileWriter(str(folder))
        self._run_id = run_id
        self._told_settings = False
        self.hint = f"tensorboard --logdir {folder}"
        """How to see what was logged."""

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
                # TensorBoard's own mark of a restart: it drops what it has from that step on.
                mark = SessionLog(status=SessionLog.START)
                self._writer.add_event(Event(wall_time=fact.wall, step=fact.step, session_log=mark))

    def _write(self, values: list[Summary.Value], step: int, wall: float) -> None:
        self._writer.add_event(Event(wall_time=wall, step=step, summary=Summary(value=values)))

    def _settings(self, fact: Started) -> None:
        if self._told_settings:
            return  # The page shows one set a run.
        self._told_settings = True
        session = hparams.hparams_pb(dict(fact.settings), trial_id=self._run_id, start_time_secs=fact.wall)
        self._writer.add_event(Event(wall_time=fact.wall, step=0, summary=session))

    def flush(self) -> None:
        """Put all that was taken into the file. Raises OSError."""
        self._writer.flush()

    def close(self, exit_code: int) -> None:
        """Finish the file, which says nothing about how a run ended."""
        self._writer.close()
