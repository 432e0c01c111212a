"""trace-node: a global traceability center in one command (全球溯源中心)."""

__version__ = "0.1.0"
