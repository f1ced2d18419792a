"""What runs on the other machine: a few lines for any POSIX shell, sent to ``sh -s`` over its standard input.

The command that ssh gets is always the same (`COMMAND`), so that neither the user's login shell nor any
name can change what is run; names reach the shell as quoted words of the script. Everything comes back in
frames: a letter, a length, a line break, and so many bytes.

=====  ==========================================================================================
frame  payload
=====  ==========================================================================================
H      the folder of all runs, or the run directory that a path led to
I      names of the run directories, one a line
R      name of the run that the next M, S and P are about
M      its ``marks.json``
S      its ``status.json``
P      the host's time in seconds, its boot id, and ``/proc/PID/stat`` of the supervisor, each on a line
O      a piece of a long record or of its milestones; followed by ``E`` and a line break if it is all there
B      the place in the record from which on all of it follows
D      bytes of the record; followed like O
T      size of the record: everything before it was sent up to this point
X      why it cannot be done; nothing follows
=====  ==========================================================================================
"""

from __future__ import annotations

import shlex

from gputrain.engine.remote import remote_outline

COMMAND = ("exec", "/bin/sh", "-s")
"""The remote command; the words are safe in every shell."""
CHUNK_BYTES = 1 << 20
"""Most bytes of the record in one frame."""
_PASSES_PER_STATUS = 3

_COMMON = """
exec 2>/dev/null
LC_ALL=C; export LC_ALL
put() { printf '%s %d\\n%s' "$1" "${#2}" "$2"; }
line() { IFS= read -r line < "$1" || [ -n "$line" ] || line=; }
facts() {
  line=; [ -r "$1/status.json" ] && line "$1/status.json"
  put S "$line"
  pid=${line#*\\"pid\\":}; pid=${pid%%[!0-9]*}; line=
  [ -n "$pid" ] && [ -r "/proc/$pid/stat" ] && line "/proc/$pid/stat"
  stat=$line; line=
  [ -r /proc/sys/kernel/random/boot_id ] && line /proc/sys/kernel/random/boot_id
  put P "$(date +%s)
$line
$stat"
}
marks() { line=; [ -r "$1/marks.json" ] && line "$1/marks.json"; put M "$line"; }
home=${GPUTRAIN_HOME:-${XDG_STATE_HOME:-$HOME/.local/state}/gputrain}/runs
"""

_NAMES = """
put H "$home"
put I "$(ls -1p "$home" | sed -n 's:/$::p')"
"""

_PATH = """
path=%s
case $path in '~/'*) path=$HOME/${path#'~/'};; esac
if cd "$path" && { [ -e events.jsonl ] || [ -e config.yaml ]; }; then put H "$(pwd -P)"
else put X "not a run directory (no events.jsonl in it)"; exit; fi
"""

_LIST = """
put H "$home"
ls -1rp "$home" | sed -n 's:/$::p' | while IFS= read -r name; do
  put R "$name"; marks "$home/$name"; facts "$home/$name"
done
put T 0
"""

# Without the clock, which costs a process for each run.
_GIVEN = """
put H "$home"
ls -1rp "$home" | sed -n 's:/$::p' | while IFS= read -r name; do
  put R "$name"; marks "$home/$name"
  line=; [ -r "$home/$name/status.json" ] && line "$home/$name/status.json"
  put S "$line"
done
put T 0
"""

_BEGIN = """
cd %(directory)s || { put X "the run directory is gone"; exit; }
sent=%(offset)d; pass=0
"""

_OUTLINE = """
size=0; [ -e events.jsonl ] && size=$(($(wc -c < events.jsonl)))
if [ "$size" -ge %(long)d ] && [ -e milestones.jsonl ]; then
  sent=$((size - %(end)d)); kept=$(($(wc -c < milestones.jsonl)))
  if [ "$kept" -gt %(milestones)d ]; then
    printf 'O %%d\n' $((%(milestones)d / 8)); head -c $((%(milestones)d / 8)) milestones.jsonl; printf 'E\n'
    printf 'O %%d\n' %(milestones)d
    tail -c +$((kept - %(milestones)d + 1)) milestones.jsonl | head -c %(milestones)d; printf 'E\n'
  else
    printf 'O %%d\n' "$kept"; head -c "$kept" milestones.jsonl; printf 'E\n'
  fi
  blocks=$((sent / %(part)d)); part=0
  while [ "$part" -lt %(parts)d ]; do
    printf 'O %%d\n' %(part)d
    dd if=events.jsonl bs=%(part)d skip=$((blocks * part / %(parts)d)) count=1; printf 'E\n'
    part=$((part + 1))
  done
  put B "$sent"
fi
"""

_FOLLOW = """
while :; do
  [ $((pass %% %(passes)d)) -eq 0 ] && facts .
  size=0; [ -e events.jsonl ] && size=$(($(wc -c < events.jsonl)))
  if [ "$size" -gt "$sent" ]; then
    count=$((size - sent)); [ "$count" -gt %(chunk)d ] && count=%(chunk)d
    printf 'D %%d\\n' "$count"
    tail -c +$((sent + 1)) events.jsonl | head -c "$count"
    printf 'E\\n'
    sent=$((sent + count))
  fi
  put T "$size" || exit
  [ "$sent" -lt "$size" ] || { sleep 1; pass=$((pass + 1)); }
done
"""

_SEND = """
cd %(directory)s || { put X "the run directory is gone"; exit; }
facts .
python=$(tr '\\000' '\\n' < "/proc/$pid/cmdline" | head -n 1)
case $(tr '\\000' ' ' < "/proc/$pid/cmdline") in *gputrain.engine*) ;; *) python=;; esac
if [ -z "$python" ]; then
  put X "its supervisor cannot be seen from a login there: it can be watched, not commanded"
elif answer=$("$python" -P -m gputrain.engine.remote %(directory)s %(command)s 2>&1 < /dev/null); then
  put T 0
else
  put X "$answer"
fi
"""


def hello(token: str) -> bytes:
    """The beginning of every script. What a login shell's own files print comes before `token` and is passed over."""
    return f"printf '\\n%s\\n' {shlex.quote(token)}\n{_COMMON}".encode()


def names() -> bytes:
    """Answers H and I."""
    return _NAMES.encode()


def resolve(path: str) -> bytes:
    """Answers H, or X where `path` holds no run."""
    return (_PATH % shlex.quote(path)).encode()


def listing() -> bytes:
    """Answers H, then R, M, S and P for each run, the newest first, then T."""
    return _LIST.encode()


def given_names() -> bytes:
    """Answers H, then R, M and S for each run, the newest first, then T."""
    return _GIVEN.encode()


def follow(directory: str, offset: int, *, outlined: bool = False) -> bytes:
    """Answers S, P, D and T without end, about once a second; D from byte `offset` on.

    `outlined`: of a long record first O and B, and D from the place that B tells.
    """
    values = {
        "directory": shlex.quote(directory),
        "offset": offset,
        "passes": _PASSES_PER_STATUS,
        "chunk": CHUNK_BYTES,
        "long": remote_outline.LONG_BYTES,
        "end": remote_outline.END_BYTES,
        "milestones": remote_outline.MILESTONE_BYTES,
        "parts": remote_outline.PARTS,
        "part": remote_outline.PART_BYTES,
    }
    return ((_BEGIN + (_OUTLINE if outlined else "") + _FOLLOW) % values).encode()


def send(directory: str, command: str) -> bytes:
    """Answers S and P, then T if the run took `command` (JSON), or X with the reason."""
    return (_SEND % {"directory": shlex.quote(directory), "command": shlex.quote(command)}).encode()
