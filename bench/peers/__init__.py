"""One file a peer; each case returns the bare loop and the measured one."""
