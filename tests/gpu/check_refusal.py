#!/usr/bin/python3
"""Without a GPU, run.device = "cuda" is one clear error and nothing else happens. (With one, this shows nothing.)

usage: check_refusal.py TRIPTYCH CONFIG
"""

import subprocess
import sys

program, config = sys.argv[1:]
doctor = subprocess.run([program, "doctor"], capture_output=True, text=True, check=True, timeout=60).stdout
print(doctor)
if "no GPU" not in doctor:
    print("this machine has a GPU: it is for tests/gpu/README.md")
    sys.exit(0)
result = subprocess.run([program, "bench", "step", config, "--set", 'run.device="cuda"'], capture_output=True, text=True,
                        check=False, timeout=60)
print(result.stderr)
good = result.returncode == 2 and result.stderr.count("triptych: error:") == 1 and "driver" in result.stderr
sys.exit(0 if good and not result.stdout else 1)
