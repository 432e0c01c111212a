"""Mutations of good input, the same for the same seed and round."""

import random

# Bytes that mean something to one of the readers.
TOKENS = [
    b"\x00", b"\xff", b"\n", b"\n\n", b" ", b"\t", b"\r", b"=", b"+", b"#", b"-0",
    b"0", b"1", b"9223372036854775807", b"9223372036854775808", b"18446744073709551616",
    b"1e400", b"NaN", b"null", b"true", b"{}", b"[]", b'""', b'"\\u0000"', b'"\\ud800"',
    b"\xe2\x80\x94 ", b"\xe2\x80\xa8", b"\xed\xa0\x80", b"\xef\xbb\xbf", b"\xc2\xa0",
    b"\xd2\x84", b"\xd9\xd9\xf7", b"\xa0", b"\x80", b"\x40", b"\xf5", b"\xf6", b"\xf9\x7e\x00",
    b"\x1b\xff\xff\xff\xff\xff\xff\xff\xff", b"\x5b\xff\xff\xff\xff\xff\xff\xff\xff",
    b"\x9b\x7f\xff\xff\xff\xff\xff\xff\xff", b"\x9f", b"\xbf", b"\x18\x17", b"\x81" * 40,
    b"group g any ", b"quorum none\n", b"log ", b"witness w ", b"%2F", b"%3A", b"..", b"did:key:z",
]  # fmt: skip


def mutated(seeds, seed, number):
    """Return the input of one round: a seed with one to four changes."""
    rng = random.Random(f"{seed} {number}")
    data = bytearray(rng.choice(seeds))
    for _ in range(rng.choice((1, 1, 1, 2, 2, 4))):
        _change(rng, data, seeds)
    return bytes(data)


def _change(rng, data, seeds):
    at = rng.randrange(len(data) + 1)
    end = min(len(data), at + rng.choice((1, 1, 2, 4, 8, 32, 64)))
    match rng.randrange(9):
        case 0 if at < len(data):
            data[at] ^= 1 << rng.randrange(8)
        case 1 if at < len(data):
            data[at] = rng.randrange(256)
        case 2:
            del data[at:end]
        case 3:
            data[at:at] = data[at:end]
        case 4:
            data[at:at] = rng.choice(TOKENS)
        case 5:
            data[at:end] = rng.choice(TOKENS)
        case 6:
            other = rng.choice(seeds)
            begin = rng.randrange(len(other) + 1)
            data[at:end] = other[begin : begin + rng.choice((1, 8, 32, 100))]
        case 7 if end < len(data):
            after = min(len(data), end + (end - at))
            data[at:after] = data[end:after] + data[at:end]
        case _:
            del data[at:]
