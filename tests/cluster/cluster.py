"""A real SLURM with virtual nodes on this machine, for tests; needs root and SLURM's packages.

All of it (configuration, key, sockets, state, logs) is in one temporary folder, ports are whatever is free, and the
daemons are children of this process, which die with it.  ``python -m tests.cluster.cluster`` is a shell inside one.
"""

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from mpimasha.mpi import launch
from mpimasha.mpi.postbox import die_with

PROGRAMS = ("slurmctld", "slurmd", "munged", "sbatch", "srun", "squeue", "scontrol", "scancel")
_PATIENCE = 30.0  # seconds for a daemon to answer, and for jobs to leave
_FAREWELL = 1.0  # seconds for a daemon to end: slurmctld may wait for a helper that has gone, and for ever
_ENDED = {"BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "NODE_FAIL", "OUT_OF_MEMORY", "TIMEOUT"}
_SBIN = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"])
_CONFIGURATION = """\
ClusterName=virtual
FirstJobId={first_job}
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={port}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket,cred_expire=5
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool/%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerType=sched/backfill
SchedulerParameters=bf_interval=1,sched_interval=1
SlurmdParameters=config_overrides
ReturnToService=2
KillWait={kill_wait}
MailProg=/bin/true
"""


def missing():
    """Why there can be no cluster here; None if there can."""
    absent = [name for name in PROGRAMS if shutil.which(name, path=_SBIN) is None]
    if absent:
        return f"needs {', '.join(absent)}: apt-get install slurm-wlm munge libpmi2-0"
    return None if os.geteuid() == 0 else "needs root: SLURM's daemons start jobs in the name of others"


class Cluster:
    """A context manager: the cluster is up inside, and gone after it, whatever happens.

    Parameters
    ----------
    nodes : int
        Virtual nodes; each pretends to have two sockets.
    cores : int
        Of each socket.

    Attributes
    ----------
    kill_wait : int
        Seconds from a cancelled job's SIGTERM to its SIGKILL.
    """

    kill_wait = 5

    def __init__(self, nodes=2, cores=2):
        self.nodes, self.cores = [f"n{i}" for i in range(1, nodes + 1)], cores
        self._daemons = []

    def __enter__(self):
        self.folder = Path(tempfile.mkdtemp(prefix="slurm-", dir="/tmp"))  # names of sockets must be short
        self.configuration = self.folder / "slurm.conf"
        try:
            self._start()
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(self, *error):
        self._stop()

    @property
    def env(self):
        """What a process needs to find this cluster, and no other job."""
        kept = {name: value for name, value in launch.job_environment().items()
                if not name.startswith(("SLURM", "SBATCH"))}
        return kept | {"SLURM_CONF": str(self.configuration)}

    # -- jobs ------------------------------------------------------------------------------------

    def call(self, *words, cwd=None, check=True, limit=_PATIENCE):
        """The standard output of a command in this cluster."""
        done = subprocess.run(list(map(str, words)), env=self.env, cwd=cwd, stdin=subprocess.DEVNULL,
                              capture_output=True, text=True, timeout=limit)
        if check and done.returncode:
            raise RuntimeError(f"{' '.join(map(str, words))} ended with {done.returncode}: {done.stderr}")
        return done.stdout.strip()

    def submit(self, *words, cwd):
        """The number of the job that ``sbatch WORDS`` makes."""
        return self.call("sbatch", "--parsable", *words, cwd=cwd)

    def job(self, number):
        """What SLURM knows of a job: {"JobState": "RUNNING", ...}; of the last task of an array."""
        told = self.call("scontrol", "show", "job", "--oneliner", number).splitlines()[-1]
        return dict(word.split("=", 1) for word in told.split() if "=" in word)

    def wait(self, number, limit=90):
        """The state of a job when it has ended, which a requeued one has not."""
        return self.wait_until(number, lambda job: job["JobState"] in _ENDED, limit)["JobState"]

    def wait_until(self, number, what, limit=90):
        deadline = time.monotonic() + limit
        while not what(job := self.job(number)):
            if time.monotonic() > deadline:
                raise TimeoutError(f"job {number} after {limit} s: {job}")
            time.sleep(0.2)
        return job

    # -- daemons ---------------------------------------------------------------------------------

    def _start(self):
        for name in ("state", *(f"spool/{node}" for node in self.nodes)):
            (self.folder / name).mkdir(parents=True)
        self.folder.chmod(0o711)  # munged wants its socket to be reached by all
        port, *ports = _free_ports(1 + len(self.nodes))
        host = socket.gethostname().split(".")[0]
        # MPICH names shared memory after the job, and a killed one leaves it: never the numbers of an earlier cluster
        text = _CONFIGURATION.format(host=host, port=port, folder=self.folder, kill_wait=self.kill_wait,
                                     first_job=int(time.time()) % 50_000_000 + 1)
        for node, at in zip(self.nodes, ports):
            text += f"NodeName={node} NodeHostname={host} NodeAddr=127.0.0.1 Port={at} RealMemory=4000 " \
                    f"CPUs={2 * self.cores} Sockets=2 CoresPerSocket={self.cores} ThreadsPerCore=1\n"
        text += f"PartitionName=main Nodes={','.join(self.nodes)} Default=YES MaxTime=INFINITE State=UP\n"
        self.configuration.write_text(text)
        key = self.folder / "munge.key"
        key.touch(0o600)
        key.write_bytes(os.urandom(1024))
        own = [f"--{what}-file={self.folder}/munge.{what}" for what in ("key", "pid", "log", "seed")]
        self._daemon("munged", "--foreground", "--force", f"--socket={self.folder}/munge.socket", *own)
        self._until(lambda: (self.folder / "munge.socket").exists())
        self._daemon("slurmctld", "-D", "-f", str(self.configuration))
        for node in self.nodes:
            self._daemon("slurmd", "-D", "-N", node, "-f", str(self.configuration))
        self._until(lambda: self.call("sinfo", "-h", "-N", "-t", "idle", "-o", "%N", check=False).split() == self.nodes)

    def _daemon(self, *words):
        me = os.getpid()
        path = shutil.which(words[0], path=_SBIN)
        with open(self.folder / "said", "ab") as said:
            self._daemons.append(subprocess.Popen([path, *words[1:]], env=self.env, stdin=subprocess.DEVNULL,
                                                  stdout=said, stderr=said, process_group=0,
                                                  preexec_fn=lambda: die_with(me, signal.SIGTERM)))

    def _until(self, ready):
        deadline = time.monotonic() + _PATIENCE
        while not ready():
            dead = [daemon.args[0] for daemon in self._daemons if daemon.poll() is not None]
            if dead or time.monotonic() > deadline:
                raise RuntimeError(f"no cluster after {_PATIENCE:.0f} s, ended: {dead}\n{self._logs()}")
            time.sleep(0.1)

    def _logs(self):
        paths = [self.folder / "said", *sorted(self.folder.glob("*.log"))]
        return "\n".join(f"-- {path.name}\n{path.read_text()[-2000:]}" for path in paths if path.exists())

    def _stop(self):
        try:
            self._end_jobs()
        finally:
            for daemon in reversed(self._daemons):
                daemon.terminate()
            for daemon in reversed(self._daemons):
                try:
                    daemon.wait(_FAREWELL)
                except subprocess.TimeoutExpired:
                    daemon.kill()
                    daemon.wait()
            shutil.rmtree(self.folder, ignore_errors=True)

    def _end_jobs(self):
        """No step outlives the cluster: processes of jobs belong to no child of ours."""
        if len(self._daemons) > 1:
            self.call("scancel", "--user=root", check=False)
            deadline = time.monotonic() + _PATIENCE
            while self.call("squeue", "-h", check=False) and time.monotonic() < deadline:
                time.sleep(0.2)
        for environ in Path("/proc").glob("[0-9]*/environ"):
            try:
                if f"SLURM_CONF={self.configuration}".encode() in environ.read_bytes().split(b"\0"):
                    pid = int(environ.parent.name)
                    if pid not in [daemon.pid for daemon in self._daemons] and pid != os.getpid():
                        os.kill(pid, signal.SIGKILL)
            except OSError:  # gone meanwhile
                pass


def _free_ports(count):
    sockets = [socket.socket() for _ in range(count)]
    try:
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
    finally:
        for one in sockets:
            one.close()


if __name__ == "__main__":
    with Cluster() as cluster:
        sys.exit(subprocess.call(sys.argv[1:] or [os.environ.get("SHELL", "/bin/sh")],
                                 env=cluster.env | {"PS1": "slurm$ "}))
