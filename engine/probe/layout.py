"""The shared-memory page of one process of a watched script: which figure stands in which slot.

A page is a file of `PAGE_BYTES` bytes in memory (``/dev/shm``): `SLOTS` doubles in native byte order, then a ring of
text. The process that owns the page writes it without a system call; the supervisor maps the same file and reads it.
All counts and times are sums since the process started, so that a reader that comes late, or never, loses nothing.
"""

from __future__ import annotations

VERSION = 2.0
SLOTS = 128
RING_BYTES = 1 << 16
PAGE_BYTES = SLOTS * 8 + RING_BYTES

# Both kinds of process.
VERSION_SLOT = 0
PID = 1
ROLE = 2
"""1: a process that trains; 2: a worker of a torch DataLoader."""
PARENT = 3
RING_END = 4
"""Bytes of text written so far; the next one goes to this position modulo `RING_BYTES`."""
DISABLED = 5
"""Hooks that failed and switched themselves off."""
TRAINER, WORKER = 1.0, 2.0

# A process that trains. Times are in seconds.
RANK = 8
WORLD = 9
# Written after each backward pass, of a usual step after its update.
BACKWARDS = 10
SAMPLES = 11
"""Samples of the batches that were followed by a backward pass."""
BATCHES = 12
WAIT = 13
"""Time in which the loop waited for batches that it then trained on."""
FIRST_WAIT = 14
"""The part of `WAIT` for the first batch of a pass over a loader."""
WAIT_SQUARES = 15
FORWARD = 16
"""From the delivery of a batch to the begin of its backward pass, by the host's clock."""
# Written after each update.
LAST_STEP = 17
"""`time.monotonic` of the newest update."""
UPDATES = 18
COMPUTE = 19
"""From the delivery of a batch to the end of its backward pass or update, by the host's clock."""
STEP_SECONDS = 20
"""Sum of the times from one update to the next, without validation."""
DRY = 21
"""Updates since a batch was last fetched; many: the script trains on batches that it keeps."""
PHASE = 22
"""0: nothing yet; 1: training; 2: validation."""
EPOCH_BATCHES = 23
# Written now and then.
EPOCH = 24
"""Number of the epoch, from 1, as the framework says; 0: it is counted by passes over the loader."""
EPOCH_LENGTH = 25
"""Batches of an epoch, as the framework says; 0: unknown."""
VALIDATION_BATCHES = 26
VALIDATION_SECONDS = 27
LOSS = 28
LOSS_UPDATE = 29
"""`UPDATES` when `LOSS` was read; -1 before."""
LEARNING_RATE = 30
SKIPPED = 31
"""Updates that a GradScaler skipped."""
THREADED = 32
"""1: another thread reads the loader than the one that trains, so the loop waits for something else than a loader."""
INSIDE = 33
"""1: a framework fetches its batches inside the step that it compiled, where nobody can see it."""
LOADERS = 35
"""DataLoaders that were iterated over. 0: how long the loop waits for data is unknown."""
ON_CUDA = 36
VRAM_ALLOCATED = 37
VRAM_RESERVED = 38
VRAM_PEAK = 39
ALLOC_RETRIES = 40
DEVICE_SECONDS = 41
"""Time between two CUDA events around the work of a step, of `DEVICE_STEPS` steps."""
DEVICE_STEPS = 42
DEVICE_HOST_SECONDS = 43
"""What the same steps took by `STEP_SECONDS`."""
OPTIMIZER_SEEN = 44
"""1: updates are counted by the optimizer; 0: by the backward pass, because no optimizer was seen."""
REPORTED = 45
"""Steps that the script reported itself (`gputrain.report`)."""
DRY_UPDATES = 16
"""Value of `DRY` from which it is unknown what the loop waits for, and how many samples it trains on."""
NO_PHASE, TRAINING, VALIDATION = 0.0, 1.0, 2.0

# A change of the training loader's settings: the supervisor writes, the script answers.
WANTED = 64
"""Number of the request; it is written last."""
WANTED_WORKERS = 65
WANTED_PREFETCH = 66
WANTED_PERSISTENT = 67
WANTED_PIN = 68
WANTED_BATCHES = 69
"""Batches of the loader that is meant; 0: unknown, any loader that is trained on."""
ANSWERED = 72
"""Number of the newest request that was answered."""
ANSWER = 73
"""1: in effect; 2: at the next pass over the loader; negative: refused, see the text."""

# A trace of some steps: the supervisor writes a file with the request and then its number, the script answers in words.
TRACE_WANTED = 80
TRACE_ANSWERED = 81

# A worker of a DataLoader. Written after each batch.
FETCHES = 8
WORKER_SAMPLES = 9
BUSY = 10
"""Wall time in which the worker made batches."""
WORKING_SINCE = 11
"""`time.monotonic` when the present batch was begun; 0: none is being made."""
# Written now and then.
CPU = 12
RUN_DELAY = 13
"""Time in which it could have run but had no core; -1: this kernel does not count it."""
READ_CHARS = 14
"""Bytes read by system calls, from the page cache or not; -1: not counted."""
DISK_BYTES = 15
SLOWEST = 16
WORKER_ID = 17
THREAD = 18
"""The kernel's number of the thread that makes the batches."""
DRAWS = 19
"""1: making a batch drew from a global random generator."""
