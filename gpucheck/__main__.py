"""``python -m gpucheck``."""

from gpucheck.cli import run

if __name__ == "__main__":
    run()
