"""Damage to files: to the bytes of any, and within the structure of JSON, TOML, tables, MATLAB v5, HDF5 and safetensors."""

import copy
import csv
import io
import json
import math
import struct
import zipfile
import zlib
from collections.abc import Callable
from contextlib import suppress
from random import Random

import h5py
import numpy as np
from fuzz.campaign import Mutate

SIZES = (0, 1, 2**7, 2**15, 2**31 - 1, 2**31, 2**32 - 1, 2**63 - 1, 2**64 - 1)
TEXTS = ("", "x", "nan", "-1", "\ud800", "=1+1", "../../x", "/dev/stdin", "a\0b", "λ" * 40_000, "{" * 3000)
NUMBERS = (-1, 0, 1, 2, 20_000, 2**31, 2**63, 10**20, 10**310, -0.0, 1e-320, 0.5, 1e30, 1e308, math.nan, math.inf)
MOST_PLACES = 10_000  # in a tree, whose size each change could multiply by thousand
VALUES = (None, True, False, [], {}, [[]], [None], [0] * 1000, {"": {}}, *NUMBERS, *TEXTS)


def damaged(content: bytes, random: Random) -> bytes:
    """Return the content with some bytes flipped, cut, spliced, repeated, or replaced by what a size field may hold."""
    data = bytearray(content)
    for _ in range(random.choice((1, 1, 2, 4, 16))):
        if not data:
            break
        # Headers decide most, so half of the changes fall into the first 512 bytes.
        at = random.randrange(min(len(data), 512) if random.random() < 0.5 else len(data))
        match random.randrange(8):
            case 0:
                data[at] ^= 1 << random.randrange(8)
            case 1:
                data[at] = random.randrange(256)
            case 2:
                size = random.choice((2, 4, 8))
                value = random.choice(SIZES) % 2 ** (8 * size)
                data[at : at + size] = value.to_bytes(size, random.choice(("little", "big")))
            case 3:
                del data[at : len(data) if random.random() < 0.3 else at + random.randrange(1, 9)]
            case 4:
                data[at:at] = data[at : at + random.randrange(1, 65)]
            case 5:
                data[at:at] = random.choice((b"\xff" * 4, b"\0" * 4, b"9" * 20, b"-1", b"nan", b"1e400", b"\xef\xbb\xbf"))
            case 6:  # a block from elsewhere in the file
                start, size = random.randrange(len(data)), random.choice((4, 16, 64, 512))
                data[at : at + size] = data[start : start + size]
            case 7:
                data[at:at] = data[at : at + random.choice((16, 256))] * random.choice((2, 100))
    return bytes(data)


def either(*ways: Mutate) -> Mutate:
    """Return a mutation that takes one of several ways; one that cannot be taken leaves the file to `damaged`."""

    def mutate(content: bytes, random: Random) -> bytes:
        with suppress(Exception):  # of whatever library writes the format
            return random.choice(ways)(content, random)
        return damaged(content, random)

    return mutate


def changed_tree(tree: object, random: Random, strange: Callable[[object, Random], object] | None = None) -> object:
    """Return a value of dictionaries and lists with one or a few of its members replaced, renamed, repeated or left out.

    Args:
        tree: the value.
        random: chooses.
        strange: makes another value of the one that is there; by default one of VALUES.
    """
    tree = copy.deepcopy(tree)
    for _ in range(random.choice((1, 1, 1, 2, 5))):
        places = [(tree, key) for key in _keys(tree)]
        for holder, key in places:  # grows while it is walked through
            if len(places) < MOST_PLACES:
                places += [(holder[key], inner) for inner in _keys(holder[key])]
        if not places:
            return tree
        holder, key = random.choice(places)
        value = holder[key]
        match random.randrange(8):
            case 0:
                del holder[key]
            case 1 if isinstance(holder, dict):
                holder[random.choice(("", "x", f"{key} ", "\ud800"))] = holder.pop(key)
            case 2 if isinstance(holder, list) and len(places) < MOST_PLACES:
                holder[key:key] = [value] * random.choice((1, 2, 1000))
            case 3:
                other, at = random.choice(places)
                with suppress(LookupError):
                    holder[key] = copy.deepcopy(other[at])
            case 4:
                holder[key] = [value]
            case _:
                holder[key] = strange(value, random) if strange else copy.deepcopy(random.choice(VALUES))
    return tree


def _keys(value: object) -> list:
    if isinstance(value, dict):
        return list(value)
    return list(range(min(len(value), 200))) if isinstance(value, list) else []


def json_tree(content: bytes, random: Random) -> bytes:
    """Change a JSON file in its structure."""
    tree = random.choice(VALUES) if random.random() < 0.05 else changed_tree(json.loads(content), random)
    return json.dumps(tree).encode()


def json_lines(content: bytes, random: Random) -> bytes:
    """Change some lines of JSON in their structure."""
    lines = content.splitlines()
    at = random.randrange(len(lines))
    lines[at] = json_tree(lines[at], random)
    if random.random() < 0.2:
        random.shuffle(lines)
    return b"\n".join([*lines, b""])


def table(content: bytes, random: Random) -> bytes:
    """Change cells, rows and columns of a CSV file."""
    rows = changed_tree(list(csv.reader(io.StringIO(content.decode()))), random, lambda _, r: str(r.choice(VALUES))[:200_000])
    text = io.StringIO()
    csv.writer(text, delimiter=random.choice(",,;\t")).writerows(row if isinstance(row, list) else [row] for row in rows)
    return text.getvalue().encode(errors="surrogatepass")


def words(content: bytes, random: Random) -> bytes:
    """Change words and lines of a text."""
    lines = [line.split() for line in content.decode().splitlines()]
    changed = changed_tree(lines, random, lambda _, r: str(r.choice(VALUES))[:200_000])
    return "\n".join(" ".join(map(str, line)) if isinstance(line, list) else str(line) for line in changed).encode(
        errors="surrogatepass"
    )


def toml(content: bytes, random: Random) -> bytes:
    """Change keys and values of a TOML file of lines `[table]` and `key = JSON value`."""
    lines = content.decode().splitlines()
    at = random.randrange(len(lines))
    key, equals, value = lines[at].partition(" = ")
    match random.randrange(5):
        case 0:
            lines.insert(at, lines[random.randrange(len(lines))])
        case 1:
            lines[at] = "[" * random.choice((1, 2, 3000)) + key
        case 2:
            lines[at] = random.choice(TEXTS) + equals + value
        case _ if equals:
            tree = json.loads(value)
            tree = changed_tree(tree, random) if isinstance(tree, list) and random.random() < 0.5 else random.choice(VALUES)
            lines[at] = key + equals + json.dumps(tree).replace("NaN", "nan").replace("Infinity", "inf")
    return "\n".join(lines).encode(errors="surrogatepass")


def repeated(content: bytes, random: Random) -> bytes:
    """Return the content with a stretch of it many times over."""
    at, size = random.randrange(len(content)), random.choice((1, 10, 100))
    return content[:at] + content[at : at + size] * random.choice((10**3, 10**5)) + content[at:]


def archive(mutate: Mutate) -> Mutate:
    """Return a mutation of one member of a zip archive."""

    def change(content: bytes, random: Random) -> bytes:
        made = io.BytesIO()
        with zipfile.ZipFile(io.BytesIO(content)) as source, zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as target:
            members = source.infolist()
            chosen = random.choice(members)
            for member in members:
                inner = source.read(member)
                target.writestr(member.filename, mutate(inner, random) if member is chosen else inner)
        return made.getvalue()

    return change


# ---- MATLAB v5 --------------------------------------------------------------------------------------------------------------


def matlab5(content: bytes, random: Random) -> bytes:
    """Damage the inside of an element of a MATLAB v5 file, whose tags then fit; a compressed one is packed again."""
    elements, at = [], 128
    while at < len(content):
        kind, size = struct.unpack_from("<II", content, at)
        elements.append((kind, content[at + 8 : at + 8 + size]))
        at += 8 + size
    place = random.randrange(len(elements))
    kind, inner = elements[place]
    inner = damaged(zlib.decompress(inner) if kind == 15 else inner, random)
    elements[place] = (kind, zlib.compress(inner) if kind == 15 else inner + bytes(-len(inner) % 8))
    return content[:128] + b"".join(struct.pack("<II", kind, len(inner)) + inner for kind, inner in elements)


# ---- HDF5 -------------------------------------------------------------------------------------------------------------------


def hdf5(content: bytes, random: Random) -> bytes:
    """Change an HDF5 file by HDF5's own means: references, attributes, storage, types and shapes."""
    image = io.BytesIO(content)
    with h5py.File(image, "r+") as file:
        names: list[str] = []
        file.visit(names.append)
        for _ in range(random.choice((1, 1, 3))):
            with suppress(KeyError):  # removed before
                _change(file, random.choice(names), random)
    return image.getvalue()


def _change(file: h5py.File, name: str, random: Random) -> None:
    item = file[name]
    shape = item.shape if isinstance(item, h5py.Dataset) else (3, 3)
    is_small = isinstance(item, h5py.Dataset) and item.size < 10**6  # an earlier change may have made it large
    attributes = {key: item.attrs[key] for key in list(item.attrs)[:5]}
    kind = random.choice(
        ("i1", "u8", "f2", "f4", "f8", "c8", "S3", h5py.string_dtype(), h5py.ref_dtype, h5py.regionref_dtype)
        + (np.dtype([("a", "f4"), ("b", "i2")]), h5py.vlen_dtype("f4"), h5py.enum_dtype({"A": 0}), "V5", "?")
    )
    match random.randrange(6):
        case 0:
            target = random.choice((item, file, item.file[random.choice(list(file))]))
            key = random.choice([*attributes, "MATLAB_class", "MATLAB_empty", "MATLAB_sparse", "backbone", "format_version"])
            value = random.choice((1, -1, 2**40, 0.5, b"cell", b"char", b"\xff\xfe", "x" * 50_000, np.zeros((2, 3)), file.ref))
            target.attrs[key] = value if random.random() < 0.8 else h5py.Empty("f4")
        case 1:  # a shape of which nothing is stored
            del file[name]
            large = tuple(random.choice((0, 1, n, 10**4, 10**9)) for n in shape) or (10**9,)
            file.create_dataset(name, large, kind, chunks=tuple(min(n, 4) or 1 for n in large), fillvalue=None)
        case 2:
            del file[name]
            file.create_dataset(name, shape, kind)
        case 3:
            del file[name]
            if random.random() < 0.5:
                file.create_group(name)
            elif random.random() < 0.5:
                file[name] = np.dtype("f4")  # a type with a name
        case 4 if is_small and item.size:
            values = item[()]
            if isinstance(values, np.ndarray) and values.dtype.kind in "iufb":
                values.flat[random.randrange(values.size)] = random.choice(
                    (-1, 0, 7, 100, *((np.nan, 1e30) if values.dtype.kind == "f" else ()))
                )
            elif isinstance(values, np.ndarray) and h5py.check_ref_dtype(values.dtype):
                values.flat[random.randrange(values.size)] = random.choice((h5py.Reference(), file.ref, item.ref))
            item[...] = values
        case 5 if is_small:
            values = item[()]
            del file[name]
            chunks = None if not values.ndim else tuple(max(1, min(n, random.choice((1, 3, 10**6)))) for n in values.shape)
            way = random.choice(({"compression": "gzip"}, {"compression": "lzf", "shuffle": True}, {"fletcher32": True}))
            file.create_dataset(name, data=values.T if random.random() < 0.5 else values, chunks=chunks, **way)
            file[name].attrs.update(attributes)


# ---- safetensors ------------------------------------------------------------------------------------------------------------


def safetensors(sign: Callable[[bytes, dict], bytes] | None = None, key: str = "") -> Mutate:
    """Return a mutation of the header of a safetensors file, and of the JSON text within it.

    Args:
        sign: makes the file valid again where it has a digest.
        key: of the JSON text in the metadata.
    """

    def mutate(content: bytes, random: Random) -> bytes:
        size = int.from_bytes(content[:8], "little")
        header, data = json.loads(content[8 : 8 + size]), content[8 + size :]
        if key and random.random() < 0.7:
            inner = changed_tree(json.loads(header["__metadata__"][key]), random)
            header["__metadata__"][key] = json.dumps(inner)
        elif random.random() < 0.5:
            data = damaged(data, random)
        else:
            header = changed_tree(header, random, _strange_header)
        text = json.dumps(header).encode()
        made = len(text).to_bytes(8, "little") + text + data
        return sign(made, header) if sign else made

    return either(mutate)


def _strange_header(value: object, random: Random) -> object:
    if isinstance(value, str):
        return random.choice(("F64", "F32", "F16", "BF16", "I64", "I8", "U64", "BOOL", "F8_E4M3", "F8_E5M2", "F4", "C64"))
    return random.choice(VALUES)
