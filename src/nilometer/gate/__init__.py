"""What a change costs: bounds learned from history, steps in it, verdicts with their reasons.

Pure functions over runs and series of numbers: nothing here reads a file, or needs more than
the standard library. Read in this order: `robust` (medians, scales, tolerance limits),
`segments` (one series as levels), `steps` (which of their borders are lasting changes);
`history` (series out of runs), `baseline` (where a series stands now), `stability` (what a
counter is good for), `joint` (one statistic over all of them), `verdict` (what is said of a
run); `attribution`, `rank` and `reports` tell people about it.
"""
