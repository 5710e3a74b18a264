"""Run inside gdb (``gdb -x``): counts the calls of every function that libcuda, libcudart and NVML export, by breakpoints."""

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


def watch_new():
    for name, base in mapped():
        if not os.path.basename(name).startswith(("libcuda.so", "libcudart", "libnvidia-ml.so")) or name in seen:
            continue
        seen.add(name)
        functions = collections.defaultdict(list)
        for line in subprocess.run(
            ["nm", "-D", "--defined-only", name], capture_output=True, text=True, check=True
        ).stdout.splitlines():
            address, kind, symbol = line.split()
            if kind in "TWi" and symbol.startswith(("cu", "nvml")):
                functions[int(address, 16)].append(symbol.split("@")[0])
        for address, names in functions.items():
            Entry(base + address, " ".join(sorted(names)))


def mapped():
    found = {}
    for line in gdb.execute("info proc mappings", to_string=True).splitlines():
        fields = line.split(None, 5)
        if len(fields) >= 5 and fields[-1].startswith("/"):
            found.setdefault(fields[-1].strip(), int(fields[0], 16))
    return found.items()


SETTINGS = ("pagination off", "debuginfod enabled off", "confirm off", "breakpoint always-inserted on")
for setting in (*SETTINGS, "auto-solib-add off", "stop-on-solib-events 1"):
    gdb.execute(f"set {setting}")
# The symbols of libraries of a gigabyte are not read: the program stops at each event of the dynamic linker, and we look.
ended = []
gdb.events.exited.connect(ended.append)
gdb.execute("""set exec-wrapper sh -c 'exec "$0" "$@" >"$OUTPUT"'""")
gdb.execute("run", to_string=True)
while not ended:
    watch_new()
    gdb.execute("continue", to_string=True)
with open(os.environ["HITS"], "w") as file:
    json.dump(hits, file)
