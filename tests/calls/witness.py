"""Run inside gdb (``gdb -x``): counts the calls of every function that libcuda and libcudart export, by breakpoints."""

import collections
import json
import os
import subprocess

import gdb

hits = collections.Counter()
seen = set()


class Entry(gdb.Breakpoint):
    """The first instruction of a function; ``names`` are all that the library gives it."""

    def __init__(self, address, names):
        super().__init__(f"*{address:#x}", gdb.BP_BREAKPOINT, internal=True)
        self.names = names

    def stop(self):
        hits[self.names] += 1
        return False


def loaded(event):
    name = event.new_objfile.filename
    if not os.path.basename(name).startswith(("libcuda.so", "libcudart")) or name in seen:
        return
    seen.add(name)
    mappings = gdb.execute("info proc mappings", to_string=True).splitlines()
    base = next(int(line.split()[0], 16) for line in mappings if os.path.realpath(name) in line)
    functions = collections.defaultdict(list)
    for line in subprocess.run(
        ["nm", "-D", "--defined-only", name], capture_output=True, text=True, check=True
    ).stdout.splitlines():
        address, kind, symbol = line.split()
        if kind in "TWi" and symbol.startswith("cu"):
            functions[int(address, 16)].append(symbol.split("@")[0])
    for address, names in functions.items():
        Entry(base + address, " ".join(sorted(names)))


gdb.events.new_objfile.connect(loaded)
for setting in ("pagination off", "debuginfod enabled off", "confirm off"):
    gdb.execute(f"set {setting}")
gdb.execute("run")
with open(os.environ["HITS"], "w") as file:
    json.dump(hits, file)
