"""Two hosts on one machine: namespaces with a network, a host name, a /tmp and a /dev/shm of their own, joined by a pair of
virtual cards. Other folders they have in common, as a cluster has a file system.

All of it is in namespaces of this process, which `enter` makes: whatever is left of it, processes too, goes away when
this process ends.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

ENTERED = "TRIPTYCH_TEST_NAMESPACES"
HOSTS = {"hosta": "10.77.0.1", "hostb": "10.77.0.2"}
CARD = "fabric0"
SHARED = "/var/tmp"  # a folder that they have in common
processes = {}  # by host: the one that keeps its namespaces


def enter():
    """Starts this program again, as the first process of namespaces of its own. Its temporary files are in SHARED."""
    if os.environ.get(ENTERED) == "1":
        be_init()
        tempfile.tempdir = SHARED
        return
    words = ["--pid", "--fork", "--kill-child", "--mount", "--mount-proc", "--net"]
    if subprocess.run(["unshare", *words, "true"], stderr=subprocess.DEVNULL, check=False).returncode != 0:
        words += ["--user", "--map-root-user"]  # who is not root, or may not all that root may
    os.execvpe("unshare", ["unshare", *words, sys.executable, *sys.argv], os.environ | {ENTERED: "1"})


def be_init():
    """The first process collects what others leave behind, and ends with its child, which goes on from here."""
    child = os.fork()
    if child == 0:
        return
    while True:
        process, status = os.wait()
        if process == child:
            os._exit(os.waitstatus_to_exitcode(status) & 0xff)


def run(*words):
    subprocess.run([str(word) for word in words], check=True)


def make_hosts(folder):
    """The hosts, and in `folder` what mpirun starts its daemons with in the place of ssh."""
    names = folder / "names"
    names.write_text("127.0.0.1 localhost\n" + "".join(f"{address} {host}\n" for host, address in HOSTS.items()))
    run("mount", "--bind", names, "/etc/hosts")
    run("ip", "link", "set", "lo", "up")  # of the machine that both are on
    for host in HOSTS:
        script = (f"hostname {host} && mount -t tmpfs tmpfs /tmp && mount -t tmpfs tmpfs /dev/shm && ip link set lo up && "
                  "echo ready && exec sleep infinity")
        processes[host] = subprocess.Popen(["unshare", "--net", "--uts", "--mount", "sh", "-c", script],
                                           stdout=subprocess.PIPE)
        assert processes[host].stdout.readline() == b"ready\n"
    first, second = (process.pid for process in processes.values())
    run("ip", "link", "add", CARD, "netns", first, "type", "veth", "peer", "name", CARD, "netns", second)
    for host, address in HOSTS.items():
        run(*on_host(host, ["ip", "address", "add", f"{address}/24", "dev", CARD]))
        set_link(host, "up")
    agent = folder / "agent"  # HOST COMMAND..., which a shell there takes, as ssh does
    cases = " ".join(f"{host}) process={process.pid} ;;" for host, process in processes.items())
    agent.write_text(f"#!/bin/sh\ncase $1 in {cases}"
                     ' esac\nshift\nexec nsenter --target "$process" --net --uts --mount sh -c "$*"\n')
    agent.chmod(0o755)
    os.environ["OMPI_MCA_plm_rsh_agent"] = str(agent)


def set_link(host, state):
    """"down" cuts it, "up" joins it again."""
    run(*on_host(host, ["ip", "link", "set", CARD, state]))


def on_host(host, words):
    """The command that runs `words` on a host, in the folder that this process is in."""
    return ["nsenter", "--target", str(processes[host].pid), "--net", "--uts", "--mount", "sh", "-c", 'cd "$0" && exec "$@"',
            os.getcwd(), *map(str, words)]
