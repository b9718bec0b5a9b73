"""What Nilometer costs, next to its peers, measured in one run on the same functions."""
