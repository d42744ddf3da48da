"""Runs a program whose three ranks have faults, and checks how they end: for check_faults.py of each transport."""

import os
import subprocess
import sys
import time


class FaultChecks:
    def __init__(self, run_ranks, program):
        self.run_ranks, self.program, self.failures = run_ranks, program, []

    def check(self, fault, exit_codes, *texts, **environment):
        """`fault` is the program's arguments. Every text must be in what the ranks print, and of those that wait for a
        peer one alone may say so."""
        begin = time.monotonic()
        try:
            result = subprocess.run([self.run_ranks, "3", self.program, *fault.split()], capture_output=True, text=True,
                                    timeout=60, env=os.environ | environment)
            printed, code = result.stdout + result.stderr, result.returncode
        except subprocess.TimeoutExpired as expired:
            printed, code = str(expired), "none: it hangs"
        seconds = time.monotonic() - begin
        wrong = [f"exit code {code}, expected one of {exit_codes}"] if code not in exit_codes else []
        wrong += [f"does not say {text!r}" for text in texts if text not in printed]
        told = printed.count("a peer must come within") + printed.count("has died")
        wrong += [f"{told} ranks tell that a peer is missing"] if told > 1 else []
        print(f"{'FAILED' if wrong else 'ok':6} {fault} {environment or ''}: exit code {code} after {seconds:.1f} s")
        if wrong:
            self.failures.append(fault)
            print("   " + "\n   ".join(wrong) + "\n   it printed:\n" + printed)

    def exit(self):
        sys.exit(f"failed: {self.failures}" if self.failures else 0)
