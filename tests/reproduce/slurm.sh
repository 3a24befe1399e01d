#!/usr/bin/env bash
# run_all.sh on a real Slurm: a cluster of this machine alone, on its loopback address, in a folder for itself.
# Usage: tests/reproduce/slurm.sh [short | --or-say-why-not]
# With the environment of run_all.sh active; as root on Debian it installs Slurm. short: one notebook alone, without a
# training. --or-say-why-not: where no cluster can be started, say so instead of failing.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
export PYTHONPATH="$PWD" OMP_NUM_THREADS=1 TVAE_OFFLINE=mnist,dsprites TVAE_CHECKPOINT_SECONDS=1
choice="${1:-}" folder="$(mktemp -d)"
for name in "${!SLURM_@}"; do unset "$name"; done
export PATH="$PATH:/usr/sbin"
export SLURM_CONF="$folder/slurm.conf"

stop() {
    echo "slurm.sh: $1" >&2
    exit 1
}

impossible() {
    if [ "${choice}" != --or-say-why-not ]; then stop "$1"; fi
    rmdir "$folder"
    echo "NOT RUN: $1"
    exit
}

[ "$(id -u)" = 0 ] || impossible "only root can start a cluster"
[ ! -e /etc/slurm/slurm.conf ] || impossible "this machine has a Slurm of its own (/etc/slurm/slurm.conf)"
if ! command -v slurmctld slurmd munged >/dev/null; then
    command -v apt-get >/dev/null || impossible "Slurm is not here (on Debian: apt install slurm-wlm munge)"
    { apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends slurm-wlm munge; } \
        >"$folder/apt.log" 2>&1 || stop "installing Slurm failed: $(tail -n 3 "$folder/apt.log")"
fi

end() { # of the daemons started here, and no others
    scancel --user "$(id -un)" 2>/dev/null || true
    for _ in {1..20}; do [ -z "$(squeue --noheader 2>/dev/null)" ] || sleep 1; done
    for daemon in slurmd slurmctld munged; do
        if [ -f "$folder/$daemon.pid" ]; then kill "$(cat "$folder/$daemon.pid")" 2>/dev/null || true; fi
    done
    if [ "$(readlink /etc/slurm/slurm.conf)" = "$SLURM_CONF" ]; then rm /etc/slurm/slurm.conf; fi
    sleep 2
    if [ "${passed:-}" ]; then rm -rf "$folder"; else echo "slurm.sh: logs are in $folder" >&2; fi
}
trap end EXIT

node="$(hostname -s)"
cat >"$SLURM_CONF" <<CONF
ClusterName=tvae
SlurmctldHost=$node(127.0.0.1)
SlurmctldPort=26817
SlurmdPort=26818
SlurmUser=$(id -un)
SlurmdUser=$(id -un)
AuthInfo=socket=$folder/munge.socket
CredType=cred/munge
StateSaveLocation=$folder/state
SlurmdSpoolDir=$folder/spool
SlurmctldPidFile=$folder/slurmctld.pid
SlurmdPidFile=$folder/slurmd.pid
SlurmctldLogFile=$folder/slurmctld.log
SlurmdLogFile=$folder/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
ReturnToService=2
SlurmdTimeout=10
KillWait=5
NodeName=$node NodeAddr=127.0.0.1 CPUs=2 RealMemory=16000
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
PartitionName=main Nodes=$node Default=YES MaxTime=INFINITE State=UP PriorityTier=1
PartitionName=urgent Nodes=$node MaxTime=INFINITE State=UP PriorityTier=2
CONF
ln -s "$SLURM_CONF" /etc/slurm/slurm.conf # where srun looks inside a job
mkdir -m 700 "$folder/state" "$folder/spool" "$folder/munge"
head -c 1024 /dev/urandom >"$folder/munge/key"
chmod 400 "$folder/munge/key"
chmod 755 "$folder"
munged --force --num-threads 1 --socket "$folder/munge.socket" --key-file "$folder/munge/key" \
    --pid-file "$folder/munged.pid" --seed-file "$folder/munge/seed" --log-file "$folder/munge/log" 2>/dev/null
slurmctld
slurmd
until [ "$(sinfo --noheader --format=%T)" = idle ]; do
    sleep 1
    [ $((waited = ${waited:-0} + 1)) -lt 60 ] || stop "the node is $(sinfo --noheader --format='%T: %E')"
done

run_all() { # HOME, further options
    TVAE_HOME="$1" python -m tvae_core.start tvae_core.reproduce.run_all --scale smoke --device cpu "${@:2}"
}

same() { # two homes hold the same: weights and optimizer bit for bit, measures, pictures
    python - "$1" "$2" <<'PYTHON'
import json, sys
from pathlib import Path
from safetensors.numpy import load_file

def contents(home):
    for path in sorted(home.glob("runs/*/checkpoint.safetensors")):
        yield from ((path.parent.name, name, value.tobytes()) for name, value in sorted(load_file(path).items()))
        yield path.parent.name, "results", json.loads(path.with_name("results.json").read_text())
        steps = json.loads(path.with_name("history.json").read_text())
        yield path.parent.name, "history", [{k: v for k, v in row.items() if k != "seconds"} for row in steps]
    for path in sorted(home.glob("figures/*/*.png")):
        yield "figure", path.name, path.read_bytes()

one, other = (list(contents(Path(home))) for home in sys.argv[1:])
differing = [a[:2] for a, b in zip(one, other) if a != b]
if not one or len(one) != len(other) or differing:
    sys.exit(f"{len(one)} and {len(other)} things, of which differ: {differing}")
print(f"the same: {len(one)} tensors, results, histories and pictures")
PYTHON
}

checkpoint() { # waits until a training has written one; a training that ended is none
    until compgen -G "$1/runs/*/checkpoint.safetensors" >/dev/null; do sleep 0.2; done
    if compgen -G "$1/runs/*/results.json"; then stop "the training ended before it could be stopped"; fi
}

step() { echo "== $1 (after $SECONDS s)"; }

jobs() { grep -c "submit_batch_job: JobId=" "$folder/slurmctld.log"; } # that Slurm was given so far

if [ "$choice" = short ]; then
    step "a notebook by Slurm"
    run_all "$folder/there" --only fig2 --executor slurm
    [ "$(jobs)" = 1 ] || stop "Slurm was given $(jobs) jobs, not 1"
    passed=yes
    echo "1 passed, 0 failed (after $SECONDS s)"
    exit
fi

step "two notebooks here, one of two seeds"
run_all "$folder/here" --only fig2,fig23 --seeds 1,2
step "the same by Slurm: one job that trains both seeds, one for both notebooks"
run_all "$folder/there" --only fig2,fig23 --seeds 1,2 --executor slurm
[ "$(jobs)" = 2 ] || stop "Slurm was given $(jobs) jobs, not 2"
same "$folder/here" "$folder/there"

long=(--only fig23 --set 'experiments=["tvae_Lpartial_rotcolor_mnist max_steps=100"]')
step "one training of 100 steps here"
run_all "$folder/whole" "${long[@]}"
for trouble in cancelled pre-empted "without its node"; do
    step "the same by Slurm, $trouble in mid-training"
    home="$folder/$trouble"
    run_all "$home" "${long[@]}" --executor slurm &
    checkpoint "$home"
    case "$trouble" in
        cancelled) scancel --user "$(id -un)" ;;
        pre-empted) sbatch --partition urgent --cpus-per-task 2 --output /dev/null --wrap "sleep 1" ;;
        *) # all at once, as where a node loses its power
            jobs="$(scontrol listpids | awk 'NR > 1 && $1 > 1 {print $1}')"
            kill -9 "$(cat "$folder/slurmd.pid")" $(ps -o ppid= -p "${jobs//$'\n'/,}" | sort -u | awk '$1 > 1') $jobs || true
            until sinfo --noheader --format=%T | grep -q down; do sleep 1; done
            slurmd
            ;;
    esac
    wait $!
    same "$folder/whole" "$home"
done
passed=yes
echo "1 passed, 0 failed (after $SECONDS s)"
