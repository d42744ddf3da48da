"""What the scripts print, and how they end when they cannot go on."""

import sys
from pathlib import Path
from typing import NoReturn


def fail(where, message) -> NoReturn:
    sys.exit(f"{Path(sys.argv[0]).stem}: [{where}] {message}")


def say(text):
    print(f"  {text}", flush=True)
