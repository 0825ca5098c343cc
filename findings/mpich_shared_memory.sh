#!/usr/bin/env bash
# Guessed: when a rank of an MPICH job is killed, the launcher, which ends the other ranks, removes their shared memory too,
#          or the segment has no name any more once all have attached to it.
# Found:   the segment stays in /dev/shm, megabytes a job, until somebody removes it or the machine restarts.  It bears a
#          random name, so neither the next job nor a batch system takes it for a leftover.
# Around it: `mpimasha doctor` counts such files, and the tests remove those of theirs.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv env
env/bin/pip install --quiet mpich==5.0.2 mpi4py==4.1.2
cat >victim.py <<'PYTHON'
import os, signal, time
from mpi4py import MPI
MPI.COMM_WORLD.Barrier()
if MPI.COMM_WORLD.rank == 1:
    os.kill(os.getpid(), signal.SIGKILL)
time.sleep(30)
PYTHON

segments() { find /dev/shm -maxdepth 1 -name 'mpich_shm_*' -newer victim.py -user "$(id -un)" | sort; }
mapped() { grep -l "$(basename "$1")" /proc/[0-9]*/maps 2>/dev/null || true; }
env/bin/pip list 2>/dev/null | grep -i mpi
segments >before
code=0
env/bin/mpiexec -n 2 env/bin/python victim.py >said 2>&1 </dev/null || code=$?
sleep 1
left=0
for file in $(segments | comm -13 before -); do
    if [ -z "$(mapped "$file")" ]; then
        ls -l "$file"
        rm -f "$file"
        left=$((left + 1))
    fi
done
echo "exit code of the launcher $code; files that no process uses any more: $left"
if [ "$code" -ne 0 ] && [ "$left" -ge 1 ]; then
    echo 'as found: the job has ended, its shared memory has not'
else
    echo 'this has changed'
    exit 1
fi
