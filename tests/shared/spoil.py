"""Spoiling valid files: what disks, networks, editors and liars do to them.

Every function takes a `random.Random` and is a function of it, so that hypothesis can draw it (`st.randoms`) and a plain
loop can count through seeds.
"""

import json
import random
import struct
from collections.abc import Callable
from typing import Any

HUGE = (0, 1, -1, 2**31 - 1, 2**31, 2**32 - 1, 2**63, 2**64, -(2**63) - 1, 10**30, 10**400)
ODD: tuple[Any, ...] = (
    None,
    True,
    False,
    "",
    "x",
    "\0",
    "é\ud7ff",
    "9" * 50,
    -1,
    0,
    1,
    2,
    0.5,
    -0.0,
    1e308,
    float("nan"),
    float("inf"),
    float("-inf"),
    [],
    {},
    [[]],
    [None],
    {"": None},
    [float("nan")],
    ["a", 1],
    "runs/../..",
    "\n" * 3,
)


def cut(data: bytes, draw: random.Random) -> bytes:
    return data[: draw.randrange(len(data) + 1)]


def flip(data: bytes, draw: random.Random) -> bytes:
    """Some bits the other way round; every second time near the front, where headers are."""
    held = bytearray(data)
    for _ in range(draw.choice((1, 1, 2, 8, 64))):
        if held:
            place = draw.randrange(min(len(held), draw.choice((16, 64, 512, len(held)))) or 1)
            held[place] ^= 1 << draw.randrange(8)
    return bytes(held)


def patch(data: bytes, draw: random.Random) -> bytes:
    """Numbers that lie, at any place, in either order of bytes."""
    held = bytearray(data)
    for _ in range(draw.choice((1, 2, 4))):
        size, code = draw.choice(((1, "B"), (2, "H"), (4, "I"), (8, "Q")))
        if len(held) >= size:
            place = draw.randrange(min(len(held) - size + 1, draw.choice((16, 128, len(held)))))
            value = draw.choice(
                (0, 1, 2, 127, 128, 255, 2 ** (8 * size - 1) - 1, 2 ** (8 * size - 1), 2 ** (8 * size) - 1)
            )
            held[place : place + size] = struct.pack(draw.choice("<>") + code, value % 2 ** (8 * size))
    return bytes(held)


def splice(data: bytes, draw: random.Random) -> bytes:
    """A piece taken out, doubled, or replaced by noise, nul bytes or what is no UTF-8."""
    start = draw.randrange(len(data) + 1)
    stop = min(len(data), start + draw.choice((0, 1, 2, 5, 40, 300)))
    piece = draw.choice(
        (
            b"",
            data[start:stop] * 2,
            b"\0",
            b"\xff\xfe",
            b"\xed\xa0\x80",
            b"NaN",
            b"1e999",
            b"-",
            b'"',
            b"\r",
            b"\n\n",
            b"_",
            b",",
            b"[" * 50,
            b"{" * 3000,
            b"\xf0\x9f\x98\x80",
            draw.randbytes(draw.choice((1, 7, 60))),
        )
    )
    return data[:start] + piece + data[stop:]


def lines(data: bytes, draw: random.Random) -> bytes:
    """Lines left out, doubled, exchanged or torn."""
    parts = data.split(b"\n")
    for _ in range(draw.choice((1, 1, 3))):
        i, j = draw.randrange(len(parts)), draw.randrange(len(parts))
        kind = draw.randrange(5)
        if kind == 0 and len(parts) > 1:
            del parts[i]
        elif kind == 1:
            parts.insert(j, parts[i])
        elif kind == 2:
            parts[i], parts[j] = parts[j], parts[i]
        elif kind == 3:
            parts[i] = cut(parts[i], draw)
        else:
            parts[i] = splice(parts[i], draw)
    return b"\n".join(parts)


def noise(data: bytes, draw: random.Random) -> bytes:
    return draw.randbytes(draw.choice((0, 1, 3, 16, 200)))


BYTES: tuple[Callable[[bytes, random.Random], bytes], ...] = (cut, flip, patch, splice, lines, noise)


def spoil_bytes(data: bytes, draw: random.Random) -> bytes:
    """Any file, one to three times."""
    for _ in range(draw.choice((1, 1, 1, 2, 3))):
        data = draw.choice(BYTES)(data, draw)
    return data


def odd_value(value: Any, draw: random.Random) -> Any:
    """Something in the place of a value: of another type, beyond all bounds, or nearly right."""
    kind = draw.randrange(8)
    if kind == 0:
        return draw.choice(HUGE)
    if kind == 1 and isinstance(value, int | float) and not isinstance(value, bool):
        return draw.choice((-value, value + 1, value - 1, value * 1000, str(value)))
    if kind == 2 and isinstance(value, str):
        return draw.choice((value[:-1], value * 3, value.upper(), value + "\0", [value]))
    if kind == 3 and isinstance(value, list):
        return draw.choice((value[:-1], value * 2, value[::-1], [*value, None], value[:1], {"0": value}))
    if kind == 4 and isinstance(value, dict):
        return list(value.items())
    if kind == 5:
        for _ in range(draw.choice((2, 40, 200))):
            value = draw.choice(([value], {"x": value}))
        return value
    return draw.choice(ODD)


def spoil_value(value: Any, draw: random.Random) -> Any:
    """A JSON value with one place changed, removed or added; the rest is left as it is."""
    if isinstance(value, dict) and value and draw.random() < 0.9:
        key = draw.choice(list(value))
        kind = draw.random()
        if kind < 0.1:
            return {name: other for name, other in value.items() if name != key}
        if kind < 0.15:
            return {**value, draw.choice(("", "__class__", key + "x", key.upper())): value[key]}
        return {**value, key: spoil_value(value[key], draw)}
    if isinstance(value, list) and value and draw.random() < 0.7:
        place = draw.randrange(len(value))
        if draw.random() < 0.1:
            return value[:place] + value[place + 1 :]
        return [*value[:place], spoil_value(value[place], draw), *value[place + 1 :]]
    return odd_value(value, draw)


def spoil_json(data: bytes, draw: random.Random) -> bytes:
    """A JSON file: its values, a key that stands twice, or its bytes."""
    kind = draw.random()
    if kind < 0.2:
        return spoil_bytes(data, draw)
    value = json.loads(data)
    for _ in range(draw.choice((1, 1, 2, 3))):
        value = spoil_value(value, draw)
    text = json.dumps(value)
    if kind < 0.3 and isinstance(value, dict) and value:
        key = draw.choice(list(value))
        text = text[:-1] + f", {json.dumps(key)}: {json.dumps(odd_value(value[key], draw))}}}"
    return text.encode("utf-8", "surrogatepass")


def spoil_json_lines(data: bytes, draw: random.Random) -> bytes:
    """A file of JSON lines: one of them, their order, or the bytes."""
    parts = data.split(b"\n")
    filled = [place for place, part in enumerate(parts) if part.strip()]
    if draw.random() < 0.25 or not filled:
        return spoil_bytes(data, draw)
    # The first and the last lines are of kinds of their own, of which there is one each.
    place = filled[draw.choice((0, -1, draw.randrange(len(filled)), draw.randrange(len(filled))))]
    parts[place] = spoil_json(parts[place], draw)
    return b"\n".join(parts)


def spoil_toml(data: bytes, draw: random.Random) -> bytes:
    """A flat TOML file: a value of another kind, a key twice, or the bytes."""
    parts = data.decode().splitlines()
    places = [place for place, part in enumerate(parts) if " = " in part]
    if draw.random() < 0.25 or not places:
        return spoil_bytes(data, draw)
    for _ in range(draw.choice((1, 1, 2))):
        place = draw.choice(places)
        name = parts[place].split(" = ")[0]
        value = draw.choice(
            (
                "true",
                "nan",
                "-inf",
                "1e400",
                "9" * 400,
                "-1",
                "0",
                "0x7fffffffffffffff",
                '""',
                '"\\u0000"',
                '"é"',
                "[]",
                "{}",
                "[[[1]]]",
                "[1, 'a']",
                "{a = 1}",
                "1979-05-27",
                "'''\n'''",
                "[" * 200,
                "0.5",
                "1_000",
                "'x' 'y'",
                "3",
                '"constant:nan:1"',
                '"geometric:1:0"',
                '"inputs"',
                '"units:layers.99"',
                "[0]",
                "[1e9]",
                "[65536, 65536]",
            )
        )
        parts[place] = draw.choice(
            (f"{name} = {value}", f"{name} = {value}\n{name} = {value}", f"{name}.x = {value}", f"[{name}]")
        )
    return "\n".join(parts).encode("utf-8", "surrogatepass")


def lie_idx(data: bytes, draw: random.Random) -> bytes:
    """An IDX header that claims something else than follows."""
    dims = draw.choice((0, 1, 2, 3, 4, 5, 255))
    sizes = [draw.choice((0, 1, 3, 28, 2**16, 2**31, 2**32 - 1)) for _ in range(dims)]
    head = bytes([0, 0, draw.choice((8, 9, 11, 12, 13, 14, 10, 0, 255)), dims])
    return head + struct.pack(f">{dims}I", *sizes) + data[16:]


def lie_npy(data: bytes, draw: random.Random) -> bytes:
    """A .npy header with another shape, type or order: pickled objects and sub-arrays among them."""
    descr = draw.choice(
        (
            "'|O'",
            "'<f8'",
            "'>f4'",
            "'|b1'",
            "'<U3'",
            "'<c16'",
            "'|S0'",
            "'<M8[s]'",
            "'|V4'",
            "[('a', '|O')]",
            "[('a', '<f8'), ('b', '<i4')]",
            "'<f8" + "1" * 30 + "'",
            "('<f8', (2, 2))",
            "None",
            "'<f2'",
            "'<g16'",
            "'|O4'",
            "__import__('os')",
            "[('a', '<f8')] * 10",
        )
    )
    shape = draw.choice(
        (
            "()",
            "(3,)",
            "(3, 4)",
            "(4294967296, 4294967296)",
            "(2147483648,)",
            "(-1, 4)",
            "(0, 4)",
            "(3, 0)",
            "(1.5,)",
            "[3, 4]",
            "None",
            "(True, 4)",
            "(10**20,)",
            "(1,) * 40",
            "(2, 2, 2, 2)",
            "(" + "1," * 70 + ")",
        )
    )
    text = f"{{'descr': {descr}, 'fortran_order': {draw.choice(('False', 'True', '0', 'None'))}, 'shape': {shape}, }}\n".encode()
    return (
        b"\x93NUMPY"
        + draw.choice((b"\x01\x00", b"\x02\x00", b"\x03\x00", b"\x09\x00"))
        + struct.pack("<H", len(text))
        + text
        + data[128:]
    )


def lie_csv(data: bytes, draw: random.Random) -> bytes:
    """A table with cells that are no plain numbers, with lines of other lengths, with names that come twice."""
    parts = data.decode().split("\n")
    for _ in range(draw.choice((1, 1, 3))):
        place = draw.randrange(len(parts))
        cells = parts[place].split(",")
        cell = draw.randrange(len(cells))
        kind = draw.randrange(6)
        if kind == 0:
            del cells[cell]
        elif kind == 1:
            cells.insert(cell, cells[cell])
        elif kind == 2 and place == 0:
            cells[cell] = cells[0]
        else:
            cells[cell] = draw.choice(
                (
                    "",
                    "nan",
                    "inf",
                    "-1e999",
                    "1_000",
                    "0x10",
                    "1e400",
                    '"',
                    '"a',
                    "\0",
                    "NA",
                    "é",
                    " ",
                    "1,2",
                    "9" * 400,
                    "True",
                    "x" * 200_000,
                    "1;2",
                    "١٢",
                    "1 2",
                    "=1+1",
                    "-",
                    "+",
                    "1e-400",
                    "'1'",
                    "\r",
                    "\u2028",
                )
            )
        parts[place] = ",".join(cells)
    return "\n".join(parts).encode("utf-8", "surrogatepass")
