"""The gate's rules beside published ones, on the same series: `make bench-gate-series`."""
