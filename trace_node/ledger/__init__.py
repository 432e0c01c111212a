"""Nothing was changed: tree, tiles, heads, receipts, sequencer, forks. Pure.

Entries are opaque bytes here: a log can be audited without knowing a single
word of what its entries say.
"""
