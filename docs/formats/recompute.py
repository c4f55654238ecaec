#!/usr/bin/env python3
"""Ultramarine's signed and sent formats, written a second time from docs/FORMATS.md and nothing else.

    recompute.py golden                      prints the golden bytes that the Rust tests pin
    recompute.py check HOME URL FIRST LAST   recomputes what a node serves for heights FIRST to LAST; HOME has its
                                             genesis.json and execution-genesis.json. Of a pruned height it
                                             recomputes all but the blobs' digests

It uses Python's standard library alone. Its ed25519 is slow and not constant in time: it only verifies.
"""

import hashlib
import json
import sys
import urllib.error
import urllib.request
from pathlib import Path

FORMAT_VERSION = 2
CHUNK_BYTES = 65_536
BLOB_BYTES = 131_072


# --- Canonical encoding ------------------------------------------------------------------------------------------------

def sha256(data):
    return hashlib.sha256(data).digest()


def domain(tag):
    return bytes([len(tag)]) + tag.encode("ascii")


def u8(value):
    return value.to_bytes(1, "little")


def u32(value):
    return value.to_bytes(4, "little")


def u64(value):
    return value.to_bytes(8, "little")


def optional(data):
    return b"\0" if data is None else b"\1" + data


def string(data):
    return u32(len(data)) + data


def items(list_):
    return u32(len(list_)) + b"".join(list_)


# --- Lists and their roots ---------------------------------------------------------------------------------------------

def blob_digest(blob, commitment):
    return sha256(b"FSBLOBVERIFY_V1_" + (4096).to_bytes(16, "big") + blob + commitment)


def list_root(name, list_):
    return sha256(domain(f"ultramarine/{name}/2") + items(list_))


def pair(left, right):
    return sha256(left + right)


def merkle(leaves, width):
    """Root of a binary tree whose missing leaves are zero; every leaf is hashed, none is skipped."""
    level = list(leaves) + [bytes(32)] * (width - len(leaves))
    while len(level) > 1:
        level = [pair(level[at], level[at + 1]) for at in range(0, len(level), 2)]
    return level[0]


def number(value):
    return value.to_bytes(32, "little")


def commitments_root(commitments):
    leaves = [sha256(commitment + bytes(16)) for commitment in commitments]
    return pair(merkle(leaves, 4096), number(len(commitments)))


def roots(lists):
    return {
        "chunks": list_root("chunks", lists["payload_chunks"]),
        "commitments": commitments_root(lists["commitments"]),
        "digests": list_root("digests", lists["digests"]),
        "proofs": list_root("proofs", lists["proofs"]),
    }


# --- Chain, value, sidecar header --------------------------------------------------------------------------------------

def address(public_key):
    return sha256(public_key)[:20]


def validator_set_hash(validators):
    """`validators`: (public key, power) in any order."""
    ordered = sorted(validators, key=lambda validator: address(validator[0]))
    return sha256(
        domain("ultramarine/validator-set/2")
        + u32(len(ordered))
        + b"".join(key + u64(power) for key, power in ordered)
    )


def chain_identity(chain, set_hash, salt):
    prague = chain["prague_time"]
    return sha256(
        domain("ultramarine/chain/2")
        + u32(FORMAT_VERSION)
        + u64(chain["chain_id"])
        + chain["execution_genesis_hash"]
        + set_hash
        + u32(chain["blobs_per_block_max"])
        + u64(chain["block_interval_ms"])
        + u64(chain["blob_retention_heights_min"])
        + u64(chain["gas_limit_min"])
        + u64(chain["gas_limit_max"])
        + u64(chain["genesis_time"])
        + optional(None if prague is None else u64(prague))
        + salt
    )


def value_id(metadata):
    header, root = metadata["header"], metadata["roots"]
    return sha256(
        domain("ultramarine/value/2")
        + u32(FORMAT_VERSION)
        + metadata["chain"]
        + u64(metadata["height"])
        + metadata["origin_proposer"]
        + u32(metadata["origin_proposer_index"])
        + u32(metadata["origin_round"])
        + metadata["validator_set_hash"]
        + header["parent_hash"]
        + header["fee_recipient"]
        + header["state_root"]
        + header["transactions_root"]
        + header["receipts_root"]
        + header["logs_bloom"]
        + u64(header["number"])
        + u64(header["gas_limit"])
        + u64(header["gas_used"])
        + u64(header["timestamp"])
        + string(header["extra_data"])
        + header["prev_randao"]
        + header["base_fee_per_gas"]
        + header["withdrawals_root"]
        + u64(header["blob_gas_used"])
        + u64(header["excess_blob_gas"])
        + header["parent_beacon_block_root"]
        + optional(header["requests_hash"])
        + header["block_hash"]
        + u32(metadata["payload_bytes"])
        + u32(metadata["blobs_count"])
        + root["chunks"]
        + root["commitments"]
        + root["digests"]
        + root["proofs"]
    )


def body_root(metadata):
    """A Deneb BeaconBlockBody with two of its twelve fields filled."""
    leaves = [bytes(32)] * 12
    leaves[9] = metadata["header"]["block_hash"]
    leaves[11] = metadata["roots"]["commitments"]
    return merkle(leaves, 16)


def header_root(metadata, genesis_time):
    header = metadata["header"]
    leaves = [
        number(header["timestamp"] - genesis_time),
        number(metadata["origin_proposer_index"]),
        header["parent_beacon_block_root"],
        header["state_root"],
        body_root(metadata),
    ]
    return merkle(leaves, 8)


# --- Sign bytes --------------------------------------------------------------------------------------------------------

PREVOTE, PRECOMMIT = 1, 2


def vote_bytes(chain, kind, height, round_, value):
    return domain("ultramarine/vote/2") + chain + u8(kind) + u64(height) + u32(round_) + optional(value)


def proposal_bytes(chain, height, round_, value, valid_round):
    valid_round = None if valid_round is None else u32(valid_round)
    return domain("ultramarine/proposal/2") + chain + u64(height) + u32(round_) + value + optional(valid_round)


def init_bytes(chain, value):
    return domain("ultramarine/init/2") + chain + value


def header_bytes(chain, root):
    return domain("ultramarine/sidecar-header/2") + chain + root


def attestation_bytes(chain, peer, expiry):
    return domain("ultramarine/peer-attestation/2") + chain + peer + u64(expiry)


def call_bytes(chain, listener, nonce):
    return domain("ultramarine/call/2") + chain + listener + nonce


def heard_bytes(chain, listener, nonce, tip, seen):
    """`seen` is None, or the signed bytes of a message of the listener and its signature."""
    digest = None if seen is None else sha256(seen[0] + seen[1])
    return domain("ultramarine/heard/2") + chain + listener + nonce + u64(tip) + optional(digest)


# --- Wire --------------------------------------------------------------------------------------------------------------

def u16(value):
    return value.to_bytes(2, "little")


def text(words):
    return string(words.encode())


def upgrades_hash(upgrades):
    """`upgrades`: (height, name) in the order of the genesis file."""
    listed = b"".join(u64(height) + text(what) for height, what in upgrades)
    return sha256(domain("ultramarine/upgrades/2") + u32(len(upgrades)) + listed)


def numbers(entries):
    return u32(len(entries)) + b"".join(text(key) + u64(entries[key]) for key in sorted(entries, key=str.encode))


def fork_schedule_hash(forks, blob_schedule):
    listed = b"".join(text(key) + numbers(blob_schedule[key]) for key in sorted(blob_schedule, key=str.encode))
    domain_ = domain("ultramarine/fork-schedule/2")
    return sha256(domain_ + numbers(forks) + u32(len(blob_schedule)) + listed)


def frame(kind, body):
    return u8(kind) + bytes(3) + u32(len(body)) + body


def hello(lowest, highest, chain, upgrades, fork_schedule, instance, attestation):
    """`attestation`: the validator's key, the expiry and the signature, or None."""
    key, expiry, signature = attestation or (bytes(32), 0, bytes(64))
    plans = upgrades + fork_schedule
    return frame(1, u32(lowest) + u32(highest) + chain + plans + u64(instance) + u8(attestation is not None) + key
                 + u64(expiry) + signature)


def ranges(list_):
    return u16(len(list_)) + b"".join(u16(first) + u16(end) for first, end in list_)


def fields(*parts):
    """A struct: the fields one behind the other. A field is bytes, or a list of items of one length."""
    return [piece for part in parts for piece in (part if isinstance(part, list) else [part])]


def list_of(items_):
    return [tuple(items_)]


def width(struct):
    return sum(8 if isinstance(piece, tuple) else len(piece) for piece in struct)


def enum(variant, struct, longest):
    """As long as its longest variant, whose fields have `longest` bytes."""
    return fields(u8(variant), struct, bytes(longest - width(struct)))


def option(value, length):
    return enum(0, [], length) if value is None else enum(1, [value], length)


def archive(struct):
    """The items of each list in order, then the root, in which a list is an offset from itself and a count."""
    ahead, places = b"", []
    for piece in struct:
        if isinstance(piece, tuple):
            places.append(len(ahead))
            ahead += b"".join(piece)
    root, at = b"", iter(places)
    for piece in struct:
        if isinstance(piece, tuple):
            offset = next(at) - (len(ahead) + len(root))
            root += offset.to_bytes(4, "little", signed=True) + u32(len(piece))
        else:
            root += piece
    return ahead + root


def vote(kind, height, round_, value, voter, signature):
    return fields(u8(kind), u64(height), u32(round_), option(value, 32), voter, signature)


def proposal(height, round_, value, valid_round, proposer, signature):
    valid_round = option(None if valid_round is None else u32(valid_round), 4)
    return fields(u64(height), u32(round_), value, valid_round, proposer, signature)


def polka(height, round_, value, signatures):
    return fields(u64(height), u32(round_), value, list_of(address_ + signature for address_, signature in signatures))


def round_certificate(height, round_, kind, votes):
    entries = [b"".join(fields(u8(kind_), option(value, 32), signer, mark)) for kind_, value, signer, mark in votes]
    return fields(u64(height), u32(round_), u8(kind), list_of(entries))


PROPOSAL_BYTES = 8 + 4 + 32 + 5 + 20 + 64
CERTIFICATE_BYTES = 8 + 4 + 32 + 8


def message(variant, struct):
    return frame(2, archive(enum(variant, struct, PROPOSAL_BYTES)))


def positions(validators):
    return b"".join(u8(sum(1 << at % 8 for at in validators if at // 8 == byte)) for byte in range(32))


def status(tip, oldest_blobs, round_, holds, seen_signed, unix_ns, token, echo, ready, links, proposes):
    seen_signed = None if seen_signed is None else b"".join(enum(*seen_signed, PROPOSAL_BYTES))
    echo = None if echo is None else u64(echo[0]) + u64(echo[1])
    clock = fields(u64(unix_ns), u64(token), option(echo, 16))
    heights = u64(tip) + u64(oldest_blobs) + u32(round_)
    seen_signed, end = option(seen_signed, 1 + PROPOSAL_BYTES), fields(u8(ready), positions(links), u8(proposes))
    return frame(3, archive(fields(heights, list_of(holds), seen_signed, clock, end)))


def hearing(variant, struct):
    return frame(4, archive(enum(variant, struct, 20 + 20 + 32 + 8 + 1 + 1 + PROPOSAL_BYTES + 64)))


def call(listener, nonce, signature):
    return hearing(0, fields(listener, nonce, signature))


def heard(by, listener, nonce, tip, seen, signature):
    seen = None if seen is None else b"".join(enum(*seen, PROPOSAL_BYTES))
    return hearing(1, fields(by, listener, nonce, u64(tip), option(seen, 1 + PROPOSAL_BYTES), signature))


def init_fields(metadata, signature, header_signature):
    header, root = metadata["header"], metadata["roots"]
    hashes = ("parent_hash", "fee_recipient", "state_root", "transactions_root", "receipts_root", "logs_bloom")
    counts = ("number", "gas_limit", "gas_used", "timestamp")
    return fields(
        metadata["chain"], u64(metadata["height"]), metadata["origin_proposer"],
        u32(metadata["origin_proposer_index"]), u32(metadata["origin_round"]), metadata["validator_set_hash"],
        [header[name] for name in hashes], [u64(header[name]) for name in counts],
        list_of(u8(byte) for byte in header["extra_data"]),
        header["prev_randao"], header["base_fee_per_gas"], header["withdrawals_root"],
        u64(header["blob_gas_used"]), u64(header["excess_blob_gas"]), header["parent_beacon_block_root"],
        option(header["requests_hash"], 32), header["block_hash"],
        u32(metadata["payload_bytes"]), u32(metadata["blobs_count"]),
        root["chunks"], root["commitments"], root["digests"], root["proofs"],
        signature, header_signature,
    )


def response(variant, struct):
    return frame(35, archive(enum(variant, struct, CERTIFICATE_BYTES)))


def package(variant, certificate, init, lists, payload):
    four = [list_of(lists[name]) for name in ("payload_chunks", "commitments", "digests", "proofs")]
    return frame(36, archive(fields(u8(variant), certificate, init, *four, list_of(u8(byte) for byte in payload))))


# --- ed25519, as ZIP-215 verifies --------------------------------------------------------------------------------------

P = 2**255 - 19
ORDER = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, P - 2, P) % P
ROOT = pow(2, (P - 1) // 4, P)


def decompress(data):
    """A point from 32 bytes; encodings that are not canonical are taken too."""
    y = int.from_bytes(data, "little")
    sign, y = y >> 255, (y & ((1 << 255) - 1)) % P
    square = (y * y - 1) * pow(D * y * y + 1, P - 2, P) % P
    x = pow(square, (P + 3) // 8, P)
    if (x * x - square) % P:
        x = x * ROOT % P
    if (x * x - square) % P:
        return None
    if x & 1 != sign:
        x = P - x
    return (x % P, y, 1, x * y % P)


def add(left, right):
    a = (left[1] - left[0]) * (right[1] - right[0]) % P
    b = (left[1] + left[0]) * (right[1] + right[0]) % P
    c, d = 2 * left[3] * right[3] * D % P, 2 * left[2] * right[2] % P
    e, f, g, h = b - a, d - c, d + c, b + a
    return (e * f % P, g * h % P, f * g % P, e * h % P)


def times(scalar, point):
    sum_ = (0, 1, 1, 0)
    while scalar:
        if scalar & 1:
            sum_ = add(sum_, point)
        point, scalar = add(point, point), scalar >> 1
    return sum_


def negative(point):
    return (-point[0] % P, point[1], point[2], -point[3] % P)


BASE = decompress((4 * pow(5, P - 2, P) % P).to_bytes(32, "little"))


def verifies(public_key, message, signature):
    """8·S·B = 8·R + 8·k·A, with S below the order."""
    key, commitment = decompress(public_key), decompress(signature[:32])
    scalar = int.from_bytes(signature[32:], "little")
    if key is None or commitment is None or scalar >= ORDER:
        return False
    hashed = hashlib.sha512(signature[:32] + public_key + message).digest()
    challenge = int.from_bytes(hashed, "little") % ORDER
    difference = add(times(scalar, BASE), negative(add(commitment, times(challenge, key))))
    x, y, z, _ = times(8, difference)
    return x == 0 and (y - z) % P == 0


# --- What a node serves ------------------------------------------------------------------------------------------------

def raw(data):
    """Every "0x…" text as bytes, through lists and objects."""
    if isinstance(data, str) and data.startswith("0x"):
        return bytes.fromhex(data[2:])
    if isinstance(data, list):
        return [raw(item) for item in data]
    if isinstance(data, dict):
        return {name: raw(item) for name, item in data.items()}
    return data


def get(url):
    with urllib.request.urlopen(url, timeout=30) as answer:
        return raw(json.load(answer))


def blobs_of(url, slot):
    """The blobs of a slot; None if the node says that it has pruned them."""
    try:
        return get(f"{url}/eth/v1/beacon/blobs/{slot}")["data"]
    except urllib.error.HTTPError as error:
        if error.code == 404 and "pruned" in error.read().decode():
            return None
        raise


def expect(holds, what):
    if not holds:
        sys.exit(f"recompute.py: {what}")


def check(home, url, first, last):
    genesis = raw(json.loads((Path(home) / "genesis.json").read_text()))
    validators = [(validator["public_key"], validator["power"]) for validator in genesis["validators"]]
    powers = dict(validators)
    keys = {address(key): key for key in powers}
    set_hash = validator_set_hash(validators)
    identity = chain_identity(genesis["chain"], set_hash, genesis["salt"])
    genesis_time = genesis["chain"]["genesis_time"]
    parent_root, empty, pruned, blobs = None, 0, 0, 0
    for height in range(first, last + 1):
        value = get(f"{url}/ultramarine/v1/value/{height}")
        metadata, lists, at = value["metadata"], value["lists"], f"height {height}"
        expect(value["height"] == height == metadata["height"], f"{at}: another height")
        expect(value["genesis_hash"] == identity == metadata["chain"], f"{at}: another chain identity")
        expect(metadata["validator_set_hash"] == set_hash, f"{at}: another validator set")
        expect(metadata["roots"] == roots(lists), f"{at}: the roots are not those of the lists")
        count = metadata["blobs_count"]
        expect(len(lists["commitments"]) == len(lists["digests"]) == len(lists["proofs"]) == count, f"{at}: a length")
        expect(len(lists["payload_chunks"]) == -(-metadata["payload_bytes"] // CHUNK_BYTES), f"{at}: chunks")
        id_ = value_id(metadata)
        expect(value["value_id"] == id_, f"{at}: the value id is {id_.hex()} here")
        proposer = keys[metadata["origin_proposer"]]
        expect(verifies(proposer, init_bytes(identity, id_), value["init_signature"]), f"{at}: the Init's signature")
        root = header_root(metadata, genesis_time)
        expect(
            verifies(proposer, header_bytes(identity, root), value["header_signature"]), f"{at}: the header's signature"
        )
        expect(value["slot"] == metadata["header"]["timestamp"] - genesis_time, f"{at}: the slot")
        expect(parent_root in (None, metadata["header"]["parent_beacon_block_root"]), f"{at}: the parent's root")
        expect(height > 1 or metadata["header"]["parent_beacon_block_root"] == bytes(32), f"{at}: a parent's root")
        parent_root = root
        certificate, power, signers = value["certificate"], 0, set()
        expect((certificate["height"], certificate["value_id"]) == (height, id_), f"{at}: the certificate")
        message = vote_bytes(identity, PRECOMMIT, height, certificate["round"], id_)
        for signed in certificate["signatures"]:
            key = keys[signed["address"]]
            expect(verifies(key, message, signed["signature"]), f"{at}: a precommit's signature")
            signers.add(key)
        power = sum(powers[key] for key in signers)
        expect(3 * power > 2 * sum(powers.values()), f"{at}: no quorum")
        served = blobs_of(url, value["slot"]) if count else []
        empty += count == 0
        if served is None:
            pruned += 1
            continue
        expect(len(served) == count, f"{at}: {len(served)} of {count} blobs are served")
        for blob, commitment, digest in zip(served, lists["commitments"], lists["digests"]):
            expect(len(blob) == BLOB_BYTES and blob_digest(blob, commitment) == digest, f"{at}: a blob's digest")
        blobs += count
    print(f"{last - first + 1} heights recomputed, {empty} without blobs, {pruned} pruned, {blobs} blobs", end="")
    print(f"; chain identity 0x{identity.hex()}")


# --- Golden bytes ------------------------------------------------------------------------------------------------------

def pattern(start, length):
    return bytes((start + at) % 256 for at in range(length))


def sample_lists(blobs):
    return {
        "payload_chunks": [pattern(0xA8, 32), pattern(0xA9, 32)],
        "commitments": [pattern(blob * 7 + 1, 48) for blob in range(blobs)],
        "digests": [pattern(blob * 5 + 2, 32) for blob in range(blobs)],
        "proofs": [pattern(blob * 3 + 3, 48) for blob in range(blobs)],
    }


def sample(blobs):
    header = {
        "parent_hash": pattern(0x20, 32),
        "fee_recipient": pattern(0x28, 20),
        "state_root": pattern(0x30, 32),
        "transactions_root": pattern(0x38, 32),
        "receipts_root": pattern(0x40, 32),
        "logs_bloom": pattern(0x48, 256),
        "number": 7,
        "gas_limit": 30_000_000,
        "gas_used": 21_000,
        "timestamp": 1_700_000_000,
        "extra_data": b"ultra",
        "prev_randao": pattern(0x58, 32),
        "base_fee_per_gas": pattern(0x60, 32),
        "withdrawals_root": pattern(0x68, 32),
        "blob_gas_used": 393_216,
        "excess_blob_gas": 131_072,
        "parent_beacon_block_root": pattern(0x78, 32),
        "requests_hash": None,
        "block_hash": pattern(0x90, 32),
    }
    return {
        "chain": pattern(0x08, 32),
        "height": 7,
        "origin_proposer": pattern(0x10, 20),
        "origin_proposer_index": 3,
        "origin_round": 2,
        "validator_set_hash": pattern(0x18, 32),
        "header": header,
        "payload_bytes": 70_000,
        "blobs_count": blobs,
        "roots": roots(sample_lists(blobs)),
    }


def golden():
    chain, value = pattern(0x08, 32), pattern(0xC0, 32)
    prague = sample(3)
    prague["header"]["requests_hash"] = pattern(0x80, 32)
    bare = sample(0)
    bare["header"]["extra_data"] = b""
    for name, metadata in (("sample", sample(3)), ("prague", prague), ("bare", bare)):
        print("value id,", name, value_id(metadata).hex())
    for name, root in roots(sample_lists(3)).items():
        print("root,", name, root.hex())
    for name, root in roots(sample_lists(0)).items():
        print("root of nothing,", name, root.hex())
    for blobs in (0, 1, 6, 7, 1024):
        metadata = sample(blobs)
        print("body and header root,", blobs, body_root(metadata).hex(), header_root(metadata, 1_600_000_000).hex())
    print("vote", vote_bytes(chain, PREVOTE, 7, 2, None).hex())
    print("vote", vote_bytes(chain, PRECOMMIT, 7, 2, value).hex())
    print("proposal", proposal_bytes(chain, 7, 2, value, None).hex())
    print("proposal", proposal_bytes(chain, 7, 2, value, 1).hex())
    print("init", init_bytes(chain, value).hex())
    print("header", header_bytes(chain, value).hex())
    print("attestation", attestation_bytes(chain, value, 1_800_000_000).hex())
    listener, nonce = pattern(0x30, 20), pattern(0x50, 32)
    print("call", call_bytes(chain, listener, nonce).hex())
    print("heard", heard_bytes(chain, listener, nonce, 9, None).hex())
    seen = (vote_bytes(chain, PREVOTE, 7, 2, value), pattern(0x60, 64))
    print("heard, a vote", heard_bytes(chain, listener, nonce, 9, seen).hex())
    seen = (proposal_bytes(chain, 7, 2, value, 1), pattern(0x60, 64))
    print("heard, a proposal", heard_bytes(chain, listener, nonce, 9, seen).hex())
    params = {
        "chain_id": 1337,
        "execution_genesis_hash": bytes([7]) * 32,
        "blobs_per_block_max": 6,
        "block_interval_ms": 1000,
        "blob_retention_heights_min": 4096,
        "gas_limit_min": 5_000,
        "gas_limit_max": 60_000_000,
        "genesis_time": 50,
        "prague_time": 100,
    }
    validators = [(bytes([1]) * 32, 1), (bytes([2]) * 32, 2)]
    set_hash = validator_set_hash(validators)
    print("validator set", set_hash.hex())
    print("identity", chain_identity(params, set_hash, bytes([9]) * 32).hex())
    params["prague_time"] = None
    print("identity, Cancun for ever", chain_identity(params, set_hash, bytes([9]) * 32).hex())
    pair_ = [(pattern(1, 32), 5), (pattern(0x41, 32), 9)]
    print("another validator set", validator_set_hash(pair_).hex())
    print("digest", blob_digest(pattern(5, BLOB_BYTES), pattern(1, 48)).hex())
    golden_wire()


def golden_wire():
    """SHA-256 of each frame that `net/tests/net/golden.rs` has."""
    chain, value, other = pattern(0x08, 32), pattern(0xC0, 32), pattern(0xC1, 32)
    signer, signature, signature_ = pattern(0x10, 20), pattern(0x40, 64), pattern(0x50, 64)
    signatures = [(signer, signature), (pattern(0x11, 20), signature_)]
    forks = {"londonBlock": 0, "cancunTime": 0, "pragueTime": 16}
    blob_schedule = {"cancun": {"target": 3, "max": 6, "baseFeeUpdateFraction": 9}}
    print("no upgrades", upgrades_hash([]).hex())
    print("one upgrade", upgrades_hash([(7, "columns")]).hex())
    print("fork schedule", fork_schedule_hash(forks, blob_schedule).hex())
    plans = (pattern(0x20, 32), pattern(0x28, 32))
    attestation = (pattern(0x30, 32), 1_800_000_000, signature)
    last, precommit = proposal(7, 2, value, 1, signer, signature), vote(1, 7, 2, value, signer, signature)
    echo = status(7, 3, 2, [value, other], (1, last), 11, 12, (13, 14), True, [0, 9, 255], True)
    certificate, bare = polka(7, 2, value, signatures), sample(0)
    bare["header"]["extra_data"] = b""
    prague, lists = sample(3), sample_lists(3)
    prague["header"]["requests_hash"] = pattern(0x80, 32)
    votes = [(0, None, *signatures[0]), (1, value, *signatures[1])]
    key = u64(7) + value
    whole = init_fields(prague, signature, signature_)
    named = {
        "hello": hello(1, 2, chain, *plans, 7, attestation),
        "hello of a full node": hello(2, 3, chain, *plans, 7, None),
        "prevote for nil": message(0, vote(0, 7, 2, None, signer, signature)),
        "precommit": message(0, precommit),
        "proposal": message(1, last),
        "proposal without a valid round": message(1, proposal(7, 2, value, None, signer, signature)),
        "polka": message(2, certificate),
        "round": message(3, round_certificate(7, 2, 1, votes)),
        "status": echo,
        "status with little": status(0, 1, 0, [], None, 0, 0, None, False, [], False),
        "status with a vote": status(7, 3, 2, [], (0, precommit), 1, 2, None, True, [0, 9, 255], True),
        "call": call(signer, chain, signature),
        "heard": heard(pattern(0x11, 20), signer, chain, 7, (1, last), signature_),
        "heard nothing": heard(pattern(0x11, 20), signer, chain, 0, None, signature_),
        "init": frame(16, archive(init_fields(prague, signature, signature_))),
        "init with little": frame(16, archive(init_fields(bare, signature, signature_))),
        "chunks": frame(20, u8(1) + b"".join(lists["payload_chunks"])),
        "commitments": frame(20, u8(2) + b"".join(lists["commitments"])),
        "digests": frame(20, u8(3) + b"".join(lists["digests"])),
        "proofs": frame(20, u8(4) + b"".join(lists["proofs"])),
        "all parts": frame(32, key + u8(1)),
        "some parts": frame(32, key + u8(0) + u8(0b101) + ranges([(0, 2)]) + ranges([(1, 2), (4, 7)])),
        "certificate": frame(34, u64(7) + u8(0)),
        "package": frame(34, u64(7) + u8(1)),
        "package and blobs": frame(34, u64(7) + u8(2) + ranges([(1, 2), (4, 7)])),
        "answer, package": response(0, certificate),
        "answer, certificate": response(1, certificate),
        "answer, not decided": response(2, [u64(7)]),
        "answer, unavailable": response(3, []),
        "full": package(0, certificate, whole, lists, b"payload"),
        "metadata only": package(1, certificate, whole, lists, b"payload"),
    }
    payload, blobs = pattern(5, 70_000), [pattern(start, BLOB_BYTES) for start in (6, 7, 8)]
    chunks = [payload[at : at + CHUNK_BYTES] for at in range(0, len(payload), CHUNK_BYTES)]
    named["a value's stream"] = b"".join(
        [named[name] for name in ("init", "chunks", "commitments", "digests", "proofs")]
        + [frame(17, u32(at) + chunk) for at, chunk in enumerate(chunks)]
        + [frame(18, u16(at) + blob) for at, blob in enumerate(blobs)]
        + [frame(19, b"")]
    )
    for name, bytes_ in named.items():
        print("frame,", name, sha256(bytes_).hex())


def main():
    match sys.argv[1:]:
        case ["golden"]:
            golden()
        case ["check", home, url, first, last]:
            check(home, url.rstrip("/"), int(first), int(last))
        case _:
            sys.exit(__doc__)


if __name__ == "__main__":
    main()
