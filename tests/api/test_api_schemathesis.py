"""What the API says of itself is what it does, on requests made from it at random."""

import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

CHECKS = (
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
)
BINARY = ("application/cose", "application/cbor-seq")
EXAMPLES = 60  # requests of an operation


@schemathesis.serializer(*BINARY)
def as_they_are(ctx, value):
    return value.data if hasattr(value, "data") else str(value).encode()


def test_requests_made_from_the_document_are_answered_as_it_says(center):
    document = schemathesis.openapi.from_url(f"{center.url}/openapi.json")
    operations = [found.ok() for found in document.get_all_operations()]
    assert len(operations) > 10
    sent = 0
    for operation in operations:

        @settings(
            max_examples=EXAMPLES,
            derandomize=True,
            database=None,
            deadline=None,
            phases=[Phase.explicit, Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(case=operation.as_strategy())
        def answered_as_it_says(case):
            nonlocal sent
            sent += 1
            case.call_and_validate(checks=CHECKS, timeout=2)

        answered_as_it_says()
    assert sent > 5 * len(operations)
