"""Celery's way to call a kernel: an application that its workers import, on the Redis of this case (contenders.py)."""

from __future__ import annotations

import os
from typing import Any

from benchmarks.kernels import call_here
from celery import Celery

app: Any = Celery("bench", broker=os.environ["BENCH_REDIS"], backend=os.environ["BENCH_REDIS"])
app.conf.update(task_serializer="pickle", result_serializer="pickle", accept_content=["pickle"])
call: Any = app.task(name="call")(call_here)
