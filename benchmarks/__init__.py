"""Side-by-side runs against llama.cpp's own programs. See `python -m benchmarks --help`."""
