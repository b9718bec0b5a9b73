"""The collector's pages: what lies in the tables, for people rather than programs."""
