"""The collector's REST interface, and who may use it."""
