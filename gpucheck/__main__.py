"""The command, and ``python -m gpucheck``."""

import gc


def main() -> None:
    """Start the command. The collector would only walk what is being imported, so it is off from here on."""
    gc.disable()
    from gpucheck.cli import main_program

    main_program()


if __name__ == "__main__":
    main()
