"""A Slurm of two nodes out of Debian's packages, on the hosts of namespace_hosts: its daemons, its key and all of its files
are this process's own."""

import os
import subprocess
import time

import namespace_hosts

CONTROLLER = "hosta"
GPUS = "/dev/null,/dev/zero"  # a node: what stands for them
# Once a minute is all the time limit that Slurm knows; it looks every 30 s.
CONFIG = """
ClusterName=test
SlurmctldHost={controller}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket=/tmp/munge.socket,cred_expire=5
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd-%n.log
MailProg=/bin/true
ProctrackType=proctrack/pgid
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerType=sched/builtin
SchedulerParameters=batch_sched_delay=0,sched_interval=1
JobAcctGatherType=jobacct_gather/none
KillWait=20
SlurmdParameters=config_overrides
GresTypes=gpu
NodeName={nodes} CPUs=4 RealMemory=500 Gres=gpu:{gpus}
PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE
"""


class Cluster:
    def __init__(self, folder):
        self.folder = folder
        folder.mkdir()
        (folder / "state").mkdir()
        nodes = ",".join(namespace_hosts.HOSTS)
        user = subprocess.run(["id", "-un"], capture_output=True, text=True, check=True).stdout.strip()
        (folder / "slurm.conf").write_text(
            CONFIG.format(controller=CONTROLLER, folder=folder, nodes=nodes, gpus=len(GPUS.split(",")), user=user))
        (folder / "gres.conf").write_text(f"NodeName={nodes} Name=gpu File={GPUS}\n")
        # No plugin of ours uses control groups; slurmd looks for where they are all the same.
        (folder / "cgroup").mkdir()
        (folder / "cgroup.conf").write_text(f"CgroupPlugin=cgroup/v1\nCgroupMountpoint={folder}/cgroup\n")
        (folder / "munge.key").write_bytes(os.urandom(128))
        (folder / "munge.key").chmod(0o400)
        os.environ["SLURM_CONF"] = str(folder / "slurm.conf")
        self.daemons = []
        for host in namespace_hosts.HOSTS:
            files = [f"--{name}=/tmp/munge.{name}" for name in ("socket", "pid-file", "log-file", "seed-file")]
            self.start(host, "munged", "--foreground", "--key-file", folder / "munge.key", *files)
        self.start(CONTROLLER, "slurmctld", "-D")
        for host in namespace_hosts.HOSTS:
            (folder / f"spool-{host}").mkdir()
            self.start(host, "slurmd", "-D", "-N", host)
        idle = f"idle {len(namespace_hosts.HOSTS)}"
        self.wait_for(lambda: self.run("sinfo", "-h", "-o", "%T %D", check=False).strip() == idle, "the nodes")

    def start(self, host, *words):
        with open(self.folder / f"{words[0]}-{host}.out", "w", encoding="utf-8") as output:
            self.daemons.append(subprocess.Popen(namespace_hosts.on_host(host, words), stdout=output,
                                                 stderr=subprocess.STDOUT))

    def wait_for(self, is_so, what, seconds=30):
        deadline = time.monotonic() + seconds
        while not is_so():
            if time.monotonic() > deadline:
                raise AssertionError(f"{what} must be ready within {seconds} s\n{self.logs()}")
            time.sleep(0.2)

    def logs(self):
        return "".join(f"{file.name}:\n{file.read_text(errors='replace')[-2000:]}\n"
                       for file in sorted(self.folder.glob("*.out")))

    def stop(self):
        for daemon in reversed(self.daemons):
            daemon.terminate()
        for daemon in self.daemons:
            daemon.wait(timeout=30)

    def run(self, *words, check=True, environment=None):
        result = subprocess.run(namespace_hosts.on_host(CONTROLLER, words), capture_output=True, text=True, timeout=60,
                                check=False, env=os.environ | (environment or {}))
        if check and result.returncode != 0:
            raise AssertionError(f"{words}: exit code {result.returncode}\n{result.stdout}{result.stderr}")
        return result.stdout

    def submit(self, *words, environment=None):
        return self.run("sbatch", "--parsable", *words, environment=environment).strip()

    def job(self, number):
        """What Slurm knows of it: JobState, Restarts, ExitCode, ..."""
        return dict(word.split("=", 1) for word in self.run("scontrol", "show", "job", number).split() if "=" in word)
