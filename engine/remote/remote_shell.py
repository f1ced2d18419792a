"""Shell scripts that run on the other machine: POSIX sh, sent to ``sh -s`` over its standard input.

The ssh command is always the same (`COMMAND`), so that neither the user's login shell nor any name can change
it; names are quoted words of the script. Replies are frames: a letter, a length, a line break, and that many
bytes.

=====  ==========================================================================================
frame  payload
=====  ==========================================================================================
H      the folder of all runs, or the resolved path of a run directory
I      names of the run directories, one a line
R      name of the run that the next M, S and P belong to
M      its ``marks.json``
S      its ``status.json``
P      the host's time in seconds, its boot id, and ``/proc/PID/stat`` of the supervisor, each on a line
O      a piece of a long record or of its milestones; followed by ``E`` and a line break if it is complete
B      the offset in the record from which on all of it follows
D      bytes of the record; ends like O
T      size of the record: everything before it was sent up to this point
X      the reason of a failure; nothing follows
=====  ==========================================================================================
"""

from __future__ import annotations

import shlex

from gputrain.engine.remote import remote_outline

COMMAND = ("exec", "/bin/sh", "-s")
"""The remote command; the words are safe in every shell."""
CHUNK_BYTES = 1 << 20
"""Maximum bytes of the record in one frame."""
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

# Without frame P: its clock would cost a process per run.
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
cd %(directory)s || { put X "the run directory was deleted"; exit; }
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
cd %(directory)s || { put X "the run directory was deleted"; exit; }
facts .
python=$(tr '\\000' '\\n' < "/proc/$pid/cmdline" | head -n 1)
case $(tr '\\000' ' ' < "/proc/$pid/cmdline") in *gputrain.engine*) ;; *) python=;; esac
if [ -z "$python" ]; then
  put X "its supervisor is not visible from a login there: it can be watched, not controlled"
elif answer=$("$python" -P -m gputrain.engine.remote %(directory)s %(command)s 2>&1 < /dev/null); then
  put T 0
else
  put X "$answer"
fi
"""


def hello(token: str) -> bytes:
    """The start of every script. Output of the login shell's own files comes before `token` and is skipped."""
    return f"printf '\\n%s\\n' {shlex.quote(token)}\n{_COMMON}".encode()


def names() -> bytes:
    """Replies H and I."""
    return _NAMES.encode()


def resolve(path: str) -> bytes:
    """Replies H, or X if `path` is not a run directory."""
    return (_PATH % shlex.quote(path)).encode()


def listing() -> bytes:
    """Replies H, then R, M, S and P for each run, newest first, then T."""
    return _LIST.encode()


def given_names() -> bytes:
    """Replies H, then R, M and S for each run, newest first, then T."""
    return _GIVEN.encode()


def follow(directory: str, offset: int, *, outlined: bool = False) -> bytes:
    """Replies S, P, D and T without end, about once a second; D from byte `offset` on.

    `outlined`: for a long record first O and B, then D from the offset in B.
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
    """Replies S and P, then T if the run accepted `command` (JSON), else X with the reason."""
    return (_SEND % {"directory": shlex.quote(directory), "command": shlex.quote(command)}).encode()
