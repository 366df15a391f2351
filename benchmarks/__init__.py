"""Every way to run this model on a CPU, side by side in one run: `make bench`, or `python -m benchmarks`."""
