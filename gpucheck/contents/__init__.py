"""``gpucheck image``: what is inside an image and what it needs of a node. Reads files, executes nothing."""
