"""Scalars for TensorBoard, written at once: its own writer has a thread, whose errors come late or never."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Mapping
from pathlib import Path

from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.record_writer import RecordWriter


class EventFile:
    """A file of events in a folder, which starts with the first scalars.

    Args:
        folder: where TensorBoard looks for it.
    """

    def __init__(self, folder: Path):
        self._folder = folder
        self._path: Path | None = None

    def append(self, step: int, scalars: Mapping[str, float]) -> None:
        """Write the scalars of a step, and in a new file first that earlier events of this step and later do not count."""
        now, events = time.time(), list[Event]()
        if self._path is None:
            self._folder.mkdir(parents=True, exist_ok=True)
            self._path = self._folder / f"events.out.tfevents.{now:017.6f}.{platform.node()}.{os.getpid()}"
            events += [Event(wall_time=now, file_version="brain.Event:2")]
            events += [Event(wall_time=now, step=step, session_log=SessionLog(status=SessionLog.START))]
        summary = Summary(value=[Summary.Value(tag=tag, simple_value=value) for tag, value in scalars.items()])
        events.append(Event(wall_time=now, step=step, summary=summary))
        with open(self._path, "ab") as file:
            writer = RecordWriter(file)
            for event in events:
                writer.write(event.SerializeToString())
