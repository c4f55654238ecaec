#!/usr/bin/env python3
"""Reads an object of an archive, and checks every byte of it.

Written from store/ARCHIVE.md and docs/FORMATS.md alone; it shares no code with the node.

    python3 docs/formats/archive.py OBJECT...     prints each height, or what is wrong
"""
import hashlib
import os
import struct
import sys

BLOB = 131072
CHUNK = 65536
TABLE = []
for byte in range(256):
    for _ in range(8):
        byte = (byte >> 1) ^ (0x82F63B78 if byte & 1 else 0)
    TABLE.append(byte)


def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc = (crc >> 8) ^ TABLE[(crc ^ byte) & 0xFF]
    return crc ^ 0xFFFFFFFF


def sha256(data):
    return hashlib.sha256(data).digest()


def u32(data, at):
    return struct.unpack_from("<I", data, at)[0]


def u64(data, at):
    return struct.unpack_from("<Q", data, at)[0]


def check(holds, what):
    if not holds:
        raise ValueError(what)


def list_root(domain, items):
    return sha256(bytes([len(domain)]) + domain.encode() + struct.pack("<I", len(items)) + b"".join(items))


def commitments_root(commitments):
    zero = bytes(32)
    layer = [sha256(item + bytes(16)) for item in commitments]
    for _ in range(12):
        if len(layer) % 2:
            layer.append(zero)
        layer = [sha256(layer[at] + layer[at + 1]) for at in range(0, len(layer), 2)] or []
        zero = sha256(zero + zero)
    root = layer[0] if layer else zero
    return sha256(root + struct.pack("<Q", len(commitments)) + bytes(24))


def metadata_fields(data):
    """Height, length of the payload, count of blobs, and the four roots."""
    check(data[:20] == b"\x13ultramarine/value/2" and u32(data, 20) == 2, "the metadata begins otherwise")
    height = u64(data, 24 + 32)
    at = 24 + 32 + 8 + 20 + 4 + 4 + 32 + 404 + 32
    at += 4 + u32(data, at)
    at += 96 + 16 + 32
    at += 33 if data[at] == 1 else 1
    at += 32
    roots = [data[at + 8 + 32 * index : at + 40 + 32 * index] for index in range(4)]
    check(at + 8 + 128 == len(data), "the metadata has another length")
    return height, u32(data, at), u32(data, at + 4), roots


def items(data, at, count, size):
    return [data[at + size * index : at + size * (index + 1)] for index in range(count)], at + size * count


def read_height(data, value_id, height):
    check(data[:4] == b"UHGT" and u32(data, 60) == crc32c(data[:60]), "its head is damaged")
    check(u64(data, 4) == height and data[12:28] == value_id[:16], "it is another height's")
    blobs, certificate, metadata, lists, payload, body_crc = struct.unpack_from("<6I", data, 28)
    end = 64 + 4 * blobs + certificate + metadata + 128 + lists + payload
    check(len(data) == end + BLOB * blobs, "it has another length")
    check(crc32c(data[64:end]) == body_crc, "its body is damaged")
    at = 64 + 4 * blobs
    check((u64(data, at), data[at + 12 : at + 44]) == (height, value_id), "its certificate is of another value")
    check((certificate - 44) % 84 == 0, "its certificate has another length")
    at += certificate
    check(sha256(data[at : at + metadata]) == value_id, "its metadata is of another value")
    of_height, payload_bytes, blobs_count, roots = metadata_fields(data[at : at + metadata])
    check((of_height, payload_bytes) == (height, payload), "its metadata says otherwise")
    check(blobs in (0, blobs_count), "some of its blobs are missing")
    at += metadata + 128
    lists_end = at + lists
    chunks, at = items(data, at, -(-payload // CHUNK), 32)
    commitments, at = items(data, at, blobs_count, 48)
    digests, at = items(data, at, blobs_count, 32)
    proofs, at = items(data, at, (lists_end - at) // 48, 48)
    check(at == lists_end, "its lists have another length")
    found = [
        list_root("ultramarine/chunks/2", chunks),
        commitments_root(commitments),
        list_root("ultramarine/digests/2", digests),
        list_root("ultramarine/proofs/2", proofs),
    ]
    check(found == roots, "a list is not the one that its metadata binds")
    body = data[lists_end:end]
    check([sha256(body[at : at + CHUNK]) for at in range(0, len(body), CHUNK)] == chunks, "its payload is another")
    prefix = b"FSBLOBVERIFY_V1_" + (4096).to_bytes(16, "big")
    for index in range(blobs):
        blob = data[end + BLOB * index : end + BLOB * (index + 1)]
        check(crc32c(blob) == u32(data, 64 + 4 * index), f"blob {index} is damaged")
        check(sha256(prefix + blob + commitments[index]) == digests[index], f"blob {index} has another digest")
    return blobs, blobs_count


def read_object(data, name):
    check(data[:8] == b"ULTRARC\0" and u32(data, 92) == crc32c(data[:92]), "its header is damaged")
    check(struct.unpack_from("<H", data, 8)[0] == 2, "it has another version")
    count, first = u32(data, 12), u64(data, 48)
    check(u64(data, 56) == len(data), "it has another length")
    check(u32(data, 64) == crc32c(data[96 : 96 + 64 * count]), "its index is damaged")
    check(name == f"{first:020}-{first + count - 1:020}.uarc", "it has another name")
    at = 96 + 64 * count
    for index in range(count):
        row = data[96 + 64 * index : 160 + 64 * index]
        height, offset, length, blobs_count, is_whole = struct.unpack_from("<QQQII", row, 32)
        check((height, offset) == (first + index, at), f"row {index} of its index is wrong")
        try:
            found = read_height(data[offset : offset + length], row[:32], height)
            check(found == (blobs_count if is_whole else 0, blobs_count), "the index says otherwise of its blobs")
        except ValueError as wrong:
            raise ValueError(f"height {height}: {wrong}") from None
        print(f"height {height}: {found[0]} of {found[1]} blobs, value 0x{row[:32].hex()}")
        at += length
    check(at == len(data), "there is more in it than its index says")


def main():
    wrong = False
    for path in sys.argv[1:]:
        with open(path, "rb") as file:
            data = file.read()
        try:
            read_object(data, os.path.basename(path))
        except (ValueError, struct.error, IndexError) as error:
            print(f"{path}: {error}")
            wrong = True
    sys.exit(1 if wrong or len(sys.argv) < 2 else 0)


if __name__ == "__main__":
    main()
