"""The name of the working process: ``python -m sllm_core.worker``."""

import sys

from sllm_core.jobs.worker import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
