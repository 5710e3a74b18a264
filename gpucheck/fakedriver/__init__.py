"""A fake driver: libcuda.so.1 and libnvidia-ml.so.1 that answer what a script says.

For tests of programs that talk to a driver: any GPUs, any result code at any call, hangs, crashes, garbage. The libraries are
in C (``source/``), with tables generated from the text files here (``tables.py``), built by any C compiler (``library.py``). The
command is ``gpucheck-fake-driver`` (``command.py``); docs/fake-driver.md describes the script.
"""
