"""gpucheck: will this code reach a GPU here, and if not, why and what is the fix?"""

__version__ = "0.1.0"
