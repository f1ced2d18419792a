# A Slurm of one node in a temporary folder, for the scripts here; sourced, not run. It needs root and Debian's packages
# slurmctld, slurmd, slurm-client and munge (tried with the versions that slurm_start asks for; apt installs them when
# they are missing). Daemons and folder are gone at the end.

slurm_work=$(mktemp -d)
slurm_stop() {
    local name pids=()
    if [ -n "${SLURM_CONF:-}" ]; then
        scancel --full --signal=KILL --user=root --quiet || true
        for _ in $(seq 60); do
            squeue -h 2>/dev/null | grep -q . || break
            sleep 1
        done
    fi
    for name in slurmd slurmctld munge; do
        [ ! -s "$slurm_work/$name.pid" ] || pids+=("$(cat "$slurm_work/$name.pid")")
    done
    kill "${pids[@]}" 2>/dev/null || true
    for _ in $(seq 30); do
        kill -0 "${pids[@]}" 2>/dev/null || break
        sleep 1
    done
    rm -rf "$slurm_work"
}
trap slurm_stop EXIT
unset SLURM_CONF

# slurm_start SLURM_VERSION MUNGE_VERSION
slurm_start() {
    local host port package
    [ "$(id -u)" = 0 ] || { echo "error: slurmd needs root" >&2; return 1; }
    if ! command -v slurmctld slurmd sbatch munged >/dev/null; then
        apt-get install -y --no-install-recommends "slurmctld=$1" "slurmd=$1" "slurm-client=$1" "munge=$2" >/dev/null
    fi
    for package in slurmctld slurmd munge; do
        echo "version:  $package $(dpkg-query -W -f '${Version}' "$package")"
    done
    [ "$(dpkg-query -W -f '${Version}' slurmctld)" = "$1" ] || { echo "error: slurmctld $1 was asked for" >&2; return 1; }
    chmod 755 "$slurm_work"
    mkdir "$slurm_work/state" "$slurm_work/spool"
    (umask 077 && head -c 1024 /dev/urandom >"$slurm_work/munge.key")
    host=$(hostname -s)
    port=$((20000 + RANDOM % 20000))
    cat >"$slurm_work/slurm.conf" <<CONF
ClusterName=finding
SlurmctldHost=$host
AuthType=auth/munge
AuthInfo=socket=$slurm_work/munge.socket
SlurmUser=root
SlurmdUser=root
SlurmctldPort=$port
SlurmdPort=$((port + 1))
StateSaveLocation=$slurm_work/state
SlurmdSpoolDir=$slurm_work/spool
SlurmctldPidFile=$slurm_work/slurmctld.pid
SlurmdPidFile=$slurm_work/slurmd.pid
SlurmctldLogFile=$slurm_work/slurmctld.log
SlurmdLogFile=$slurm_work/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
JobAcctGatherType=jobacct_gather/none
MailProg=/bin/true
NodeName=$host CPUs=$(nproc) State=UNKNOWN
PartitionName=all Nodes=$host Default=YES MaxTime=INFINITE State=UP
CONF
    export SLURM_CONF=$slurm_work/slurm.conf
    munged --force --socket="$slurm_work/munge.socket" --key-file="$slurm_work/munge.key" --pid-file="$slurm_work/munge.pid" \
        --log-file="$slurm_work/munge.log" --seed-file="$slurm_work/munge.seed"
    slurmctld
    slurmd
    for _ in $(seq 30); do
        [ "$(sinfo -h -o %t 2>/dev/null)" != idle ] || return 0
        sleep 1
    done
    echo "error: the node did not become idle" >&2
    return 1
}

# slurm_report EXPECTED SEEN UNCHANGED(true or false)
slurm_report() {
    echo "expected: $1"
    echo "seen:     $2"
    if [ "$3" = true ]; then
        echo "result:   as recorded"
    else
        echo "result:   CHANGED: this is no longer what is recorded here"
        exit 1
    fi
}
