"""Use cases: one a file. They are called by the edge and commit nothing twice."""
