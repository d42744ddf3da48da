"""The hosts that run-ranks starts ranks on: a file that lists them, and what mpirun wants for several."""

import re
from pathlib import Path
from typing import NamedTuple

MOST_BYTES = 1 << 20
MOST_RANKS = 99999
MOST_SHOWN = 20  # lines of a file that are no lines of hosts
LINE = re.compile(r"([A-Za-z0-9][A-Za-z0-9._:-]{0,252})[ \t]+slots=([1-9][0-9]{0,4})")
# A name, an address with the number of its bits, or several with commas between them, as Open MPI takes them.
INTERFACES = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/-]*(,[A-Za-z0-9][A-Za-z0-9._:/-]*)*")
# A host whose kernel answers nothing for 5 + 3 x 3 s is gone: mpirun ends the job, and the daemon there its ranks.
KEEPALIVE = {"oob_tcp_keepalive_time": 5, "oob_tcp_keepalive_intvl": 3, "oob_tcp_keepalive_probes": 3}


class HostsError(Exception):
    """What is wrong with a host file, in the words of an error."""


class Host(NamedTuple):
    name: str
    slots: int
    first_rank: int

    def ranks(self):
        """"rank 4", "ranks 4-7"."""
        last = self.first_rank + self.slots - 1
        return f"rank {last}" if self.slots == 1 else f"ranks {self.first_rank}-{last}"


class Hosts:
    """Ranks fill the hosts one after the other, in the order of the file: neighbours in `tp` then share one."""

    def __init__(self, text, name):
        self.hosts, seen, wrong = [], {}, []
        for number, line in enumerate(text.splitlines(), 1):
            line = line.split("#", 1)[0].strip()
            if not line:
                continue
            found = LINE.fullmatch(line)
            if not found:
                wrong.append(f"{name}, line {number}: a line must be `HOST slots=RANKS`, found {line[:80]!r}.")
                continue
            host = Host(found[1], int(found[2]), self.num_ranks)
            if host.name in seen:
                wrong.append(f"{name}, line {number}: a host must stand there once, {host.name} is in line "
                             f"{seen[host.name]} too. Add its slots up.")
                continue
            seen[host.name] = number
            self.hosts.append(host)
        if wrong:
            more = [f"and {len(wrong) - MOST_SHOWN} more lines"] if len(wrong) > MOST_SHOWN else []
            raise HostsError("\n  ".join(wrong[:MOST_SHOWN] + more))
        if not 1 <= self.num_ranks <= MOST_RANKS:
            raise HostsError(f"{name} must have 1 to {MOST_RANKS} slots in all, found {self.num_ranks}.")

    @property
    def num_ranks(self):
        return self.hosts[-1].first_rank + self.hosts[-1].slots if self.hosts else 0

    def take_first(self, num_ranks, name):
        if num_ranks > self.num_ranks:
            raise HostsError(f"{name} must have slots for all ranks: {num_ranks} ranks, {self.num_ranks} slots.")
        left = [host for host in self.hosts if host.first_rank < num_ranks]
        self.hosts = [host._replace(slots=min(host.slots, num_ranks - host.first_rank)) for host in left]

    def most_slots(self):
        return max(host.slots for host in self.hosts)

    def describe(self, name):
        """"nodeb (ranks 4-7)" for a host as mpirun names it, without its domain."""
        for host in self.hosts:
            if name in (host.name, host.name.split(".", 1)[0]):
                return f"{name} ({host.ranks()})"
        return name

    def options(self, folder, interfaces):
        """mpirun's; `folder` is of this machine alone and takes the host file that is read."""
        # One line a rank, which `seq` keeps to; `slot` would begin with the host that mpirun runs on.
        listed = folder / "hosts"
        listed.write_text("".join(f"{host.name}\n" * host.slots for host in self.hosts))
        options = ["--hostfile", listed, "--map-by", "seq"]
        for name, value in KEEPALIVE.items():
            options += ["--mca", name, value]
        if interfaces is not None:
            options += ["--mca", "pml", "ob1", "--mca", "btl", "self,vader,tcp", "--mca", "btl_tcp_if_include", interfaces,
                        "--mca", "oob_tcp_if_include", interfaces]
        return options


def read_hosts(path, num_ranks=None):
    """The hosts of a file; of its first `num_ranks` slots, where that is given."""
    try:
        with Path(path).open("rb") as file:
            data = file.read(MOST_BYTES + 1)
        if len(data) > MOST_BYTES:
            raise HostsError(f"{path} must have {MOST_BYTES} bytes at most.")
        hosts = Hosts(data.decode("ascii"), path)
    except OSError as error:
        raise HostsError(f"{path} must be a file that lists hosts: {error.strerror}.") from None
    except UnicodeDecodeError:
        raise HostsError(f"{path} must be a text of ASCII characters.") from None
    if num_ranks is not None:
        hosts.take_first(num_ranks, path)
    return hosts
