"""Two hosts on one machine: network namespaces that a pair of virtual cards joins, each with a host name and a /dev/shm
of its own. Files and processes they have in common; hosts of a cluster have a file system.

All of it is in namespaces of this process, which `enter` makes: whatever is left of it, processes too, goes away when
this process ends.
"""

import os
import subprocess
import sys
from pathlib import Path

ENTERED = "TRIPTYCH_TEST_NAMESPACES"
HOSTS = {"hosta": "10.77.0.1", "hostb": "10.77.0.2"}
CARD = "fabric0"
# What a process of a host begins with: its name, its /dev/shm, the command.
ON_HOST = ["unshare", "--uts", "--mount", "sh", "-c",
           'hostname "$0" && mount -t tmpfs tmpfs /dev/shm && exec "$@"']


def enter():
    """Starts this program again, as the first process of namespaces of its own."""
    if os.environ.get(ENTERED) == "1":
        return
    words = ["--pid", "--fork", "--kill-child", "--mount", "--mount-proc", "--net"]
    if subprocess.run(["unshare", *words, "true"], stderr=subprocess.DEVNULL, check=False).returncode != 0:
        words += ["--user", "--map-root-user"]  # who is not root, or may not all that root may
    os.execvpe("unshare", ["unshare", *words, sys.executable, *sys.argv], os.environ | {ENTERED: "1"})


def ip(words):
    subprocess.run(["ip", *words.split()], check=True)


def make_hosts(folder):
    """The hosts, and in `folder` what mpirun starts its daemons with in the place of ssh."""
    ip("link set lo up")
    Path("/run/netns").mkdir(exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", "/run/netns"], check=True)
    names = folder / "names"
    names.write_text("127.0.0.1 localhost\n" + "".join(f"{address} {host}\n" for host, address in HOSTS.items()))
    subprocess.run(["mount", "--bind", names, "/etc/hosts"], check=True)
    for host in HOSTS:
        ip(f"netns add {host}")
        ip(f"-n {host} link set lo up")
    first, second = HOSTS
    ip(f"link add {CARD} netns {first} type veth peer name {CARD} netns {second}")
    for host, address in HOSTS.items():
        ip(f"-n {host} address add {address}/24 dev {CARD}")
        set_link(host, "up")
    agent = folder / "agent"  # HOST COMMAND..., which a shell there takes, as ssh does
    agent.write_text('#!/bin/sh\nhost=$1; shift\nexec ip netns exec "$host" '
                     + " ".join(f"'{word}'" for word in ON_HOST) + ' "$host" sh -c "$*"\n')
    agent.chmod(0o755)
    os.environ["OMPI_MCA_plm_rsh_agent"] = str(agent)


def set_link(host, state):
    """"down" cuts it, "up" joins it again."""
    ip(f"-n {host} link set {CARD} {state}")


def on_host(host, words):
    """The command that runs `words` on a host."""
    return ["ip", "netns", "exec", host, *ON_HOST, host, *map(str, words)]
