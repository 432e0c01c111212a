"""The rules of standards/ as typed values; bytes come in, nobody reads files here.

A rule set is named by its digest, and entry 0 of a log names the digests in
force, so an upgrade never changes what was true under the old ones.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, Final, NoReturn

import jsonschema_rs
import orjson

from trace_node.errors import Malformed, Refused
from trace_node.trust.record import ni

_SHOWN: Final = 200  # characters of a message, and of a member's name


@dataclass(frozen=True, slots=True)
class Rules:
    """Every standard in force.

    Args:
        digests: folder name → digest of all its files.
        schemas: record type → validator of its body.
    """

    digests: Mapping[str, bytes]
    schemas: Mapping[str, jsonschema_rs.Validator] = field(default_factory=dict)

    def named(self) -> dict[str, str]:
        """Return folder → ``ni:`` name, as entry 0 carries them."""
        return {folder: ni(digest) for folder, digest in self.digests.items()}

    def check(self, record_type: str, body: dict[str, Any]) -> None:
        """Check a record's body against the schema of its type, if there is one.

        Raises:
            Refused: it does not conform; ``where`` points into the body.
        """
        schema = self.schemas.get(record_type)
        if schema is None or schema.is_valid(body):
            return
        error = next(iter(schema.iter_errors(body)))
        path = ".".join(["body", *(str(part)[:_SHOWN] for part in error.instance_path)])
        # The message repeats the value at fault, which may have a megabyte.
        message = error.message
        if len(message) > _SHOWN:
            message = f"{message[:_SHOWN]}…"
        raise Refused(f"does not conform to {record_type}: {message}", where=path)


def load_rules(files: Mapping[str, bytes]) -> Rules:
    """Build the rules from path → bytes, paths relative to standards/.

    Raises:
        Malformed: a schema is no JSON Schema.
    """
    folders: dict[str, list[str]] = {}
    schemas: dict[str, jsonschema_rs.Validator] = {}
    for path in sorted(files):
        folder, _, rest = path.partition("/")
        if not rest:
            continue
        folders.setdefault(folder, []).append(path)
        if rest.startswith("schemas/") and rest.endswith(".json"):
            name = rest.removeprefix("schemas/").removesuffix(".json")
            try:
                schemas[name] = jsonschema_rs.validator_for(
                    orjson.loads(files[path]), retriever=_refuse
                )
            except ValueError as error:
                raise Malformed(f"no JSON Schema: {error}", where=path) from None
    digests = {
        folder: _digest([(path, files[path]) for path in paths])
        for folder, paths in folders.items()
    }
    return Rules(digests, schemas)


def _refuse(uri: str) -> NoReturn:
    # The library would fetch what a $ref names: a rule that is no part of the
    # digest, from a host that whoever wrote the schema chose.
    raise ValueError(f"a schema refers to itself only, not to {uri}")


def _digest(files: list[tuple[str, bytes]]) -> bytes:
    # Length before content, so that no two sets of files run together.
    hasher = sha256()
    for path, data in files:
        name = path.encode()
        hasher.update(len(name).to_bytes(4) + name + len(data).to_bytes(8) + data)
    return hasher.digest()
