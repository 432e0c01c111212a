"""The way to a center for programs: submit, ask, import; verified or an error.

    with Client("http://127.0.0.1:8080", policy=policy, signer=key, iss=did) as c:
        record = make_record("event", "4-segments@1", issued, salt, body)
        done = c.register(c.sign(record), [record])

What a method returns was checked against the policy: receipts by the key that
entry 0 of the log names, positions by a signed head, records by their digest.
"""

from trace_node.client.authoring import Author, Options, party_secret
from trace_node.client.importing import Importer
from trace_node.client.items import Report
from trace_node.client.session import Client, Outcome
from trace_node.client.trusting import Registered, Trust

__all__ = [
    "Author",
    "Client",
    "Importer",
    "Options",
    "Outcome",
    "Registered",
    "Report",
    "Trust",
    "party_secret",
]
