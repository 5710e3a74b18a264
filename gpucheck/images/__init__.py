"""Container images as a ``System``: named in an engine, a registry, an archive or a folder; read without unpacking.

Import what is needed from the modules: ``gpucheck.images.opening`` has ``open_image`` and ``read_config``.
"""
