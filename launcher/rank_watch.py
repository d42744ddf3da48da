"""What run-ranks sees of mpirun and its ranks, and what it says."""

import os
import re
import select
import sys
from pathlib import Path


def put(data):
    """To standard error. A reader who has gone, or a terminal that was closed, does not end the ranks."""
    while data:
        try:
            data = data[os.write(2, data):]
        except OSError:
            return


def say(where, text):
    put(f"run-ranks: [{where}] {text}\n".encode())


def fail(code, where, text):
    say(where, text)
    sys.exit(code)


class Ranks:
    """The processes that mpirun started, and the order in which they ended: it does not always say who was first."""

    def __init__(self, num_ranks):
        self.num_ranks = num_ranks
        self.alive = {}  # by a descriptor that becomes readable when the process ends: rank, process
        self.stopped = []  # ranks that a signal had stopped when the first one ended
        self.ended = []  # rank, and its status as wait() tells it, None where that is not known, in order
        self.known = set()

    def look_for(self, mpirun):
        if len(self.known) == self.num_ranks:
            return
        for children in Path(f"/proc/{mpirun}/task").glob("*/children"):
            try:
                for process in set(map(int, children.read_text().split())) - self.known:
                    self.add(process)
            except OSError:
                continue

    def add(self, process):
        # Between fork and exec a rank still has its parent's environment.
        found = re.search(rb"(?:^|\0)OMPI_COMM_WORLD_RANK=(\d+)", Path(f"/proc/{process}/environ").read_bytes())
        if found:
            self.alive[os.pidfd_open(process)] = int(found[1]), process
            self.known.add(process)

    def look_who_ended(self):
        ended = select.select([*self.alive], [], [], 0)[0]
        if ended and not self.ended:
            self.stopped = [rank for rank, process in self.alive.values() if self.state_of(process) == "T"]
        for descriptor in ended:
            rank, process = self.alive.pop(descriptor)
            os.close(descriptor)
            try:  # until mpirun has collected it
                status = int(Path(f"/proc/{process}/stat").read_text().split()[-1])
            except OSError:
                status = None
            self.ended.append((rank, status))

    @staticmethod
    def state_of(process):
        try:
            return Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[0]
        except OSError:
            return ""

    def first_failed(self):
        return next((rank for rank, status in self.ended if status != 0), None)

    def has_failed(self):
        return any(status for _, status in self.ended)


class Messages:
    """Standard error of mpirun: what ranks print goes through as it is; of Open MPI's own texts, each between two lines
    of dashes, those are left out that say no more than an exit code, and the rank that was killed is kept."""

    RULE = re.compile(rb"^-{70,}\s*$")
    KNOWN = (b"Primary job  terminated normally", b"mpirun noticed that process rank", b"mpirun has exited due to process",
             b"MPI_ABORT was invoked on rank", b"exiting improperly", b"mpirun detected that one or more processes exited",
             b"ORTE has lost communication with a remote daemon")
    FORWARDING = re.compile(rb"^mpirun: Forwarding signal \d+ to job\s*$")
    # One of those texts that mpirun could not pass on while the job ended.
    UNSENT_HELP = re.compile(rb"^\[\S+:\d+\] \[\[\d+,\d+\],\d+\] ORTE_ERROR_LOG: .* in file \S*show_help\.c at line \d+\s*$")
    # Both it and what it starts may do that, and the second one is told so.
    TWICE = re.compile(rb"^\[\S+:\d+\] plm:rsh: Warning: setpgid\(\d+,\d+\) failed in parent with errno=.*$")
    KILLED = re.compile(rb"process rank (\d+) with PID \d+ on node\s+\S+\s+exited on\s+signal")
    LOST = re.compile(rb"Remote daemon\s*: \[\[\d+,\d+\],\d+\] on node (\S+)")

    def __init__(self):
        self.line, self.block = b"", None  # what is not decided yet
        self.killed_rank = None
        self.lost_hosts = []  # as mpirun names them

    def take(self, data):
        *lines, self.line = (self.line + data).split(b"\n")
        for line in lines:
            self.take_line(line + b"\n")
        # A counter that rewrites its line has no newline; only what may become a rule has to wait.
        if self.block is None and self.line.strip(b"-"):
            put(self.line)
            self.line = b""

    def take_line(self, line):
        if self.FORWARDING.match(line) or self.UNSENT_HELP.match(line) or self.TWICE.match(line):
            return
        is_rule = self.RULE.match(line)
        if self.block is None and not is_rule:
            put(line)
        elif self.block is None:
            self.block = [line]
        else:
            self.block.append(line)
            if is_rule:
                self.end_block()

    def end_block(self):
        text, self.block = b"".join(self.block), None
        if self.killed_rank is None and (found := self.KILLED.search(text.replace(b"\n", b" "))):
            self.killed_rank = int(found[1])
        if found := self.LOST.search(text):
            self.lost_hosts.append(found[1].decode("ascii", "replace"))
        if not any(known in text for known in self.KNOWN):
            put(text)

    def finish(self):
        if self.block is not None:
            self.end_block()
        put(self.line)
        self.line = b""
