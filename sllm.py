#!/usr/bin/env python3
"""sLLM Trainer: trains small language models on your own files, on your own computer.

`python3 sllm.py` opens the window, `python3 sllm.py --help` lists the commands. The first start
sets up what is needed. Keeps to the syntax of Python 3.6: see sllm_core/bootstrap.py.
"""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent


def set_up(extra: "str | None" = None) -> None:
    """Continues inside the app's own environment, or ends with words that help."""
    from sllm_core import bootstrap

    try:
        bootstrap.ensure(ROOT, extra)
    except bootstrap.SetupError as error:
        sys.exit(str(error))  # to standard error, exit code 1
    except KeyboardInterrupt:
        print("Stopped. The next start goes on with the set-up from there.", file=sys.stderr)
        sys.exit(130)


if __name__ == "__main__":
    set_up()
    from sllm_core.cli import main

    sys.exit(main())
