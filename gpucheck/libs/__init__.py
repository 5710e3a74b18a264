"""``gpucheck libs``: which libraries a file, a Python distribution or an environment gets, and why those. Executes nothing."""
