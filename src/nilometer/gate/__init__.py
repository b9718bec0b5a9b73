"""What a change costs: bounds learned from history, steps in it, verdicts with their reasons.

Pure functions over series of numbers: nothing here reads a file, or needs more than the
standard library. Read in this order: `robust` (medians, scales, tolerance limits), `segments`
(one series as levels), `steps` (which of their borders are lasting changes).
"""
