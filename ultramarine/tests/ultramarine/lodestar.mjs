// Reads a network's blobs with Lodestar's client, which has types and SSZ of its own.
//
//     node lodestar.mjs URL SLOT
//
// Prints one line of JSON: what the sidecars and headers of that slot are, and what the node says of itself, as Lodestar
// read it.
import {createHash} from "node:crypto";

import {getClient} from "@lodestar/api";
import {chainConfigFromJson, createBeaconConfig} from "@lodestar/config";
import {ssz} from "@lodestar/types";

const [url, slot] = process.argv.slice(2);
const never = Infinity;
const forks = {ALTAIR_FORK_EPOCH: 0, BELLATRIX_FORK_EPOCH: 0, CAPELLA_FORK_EPOCH: 0, DENEB_FORK_EPOCH: 0, ELECTRA_FORK_EPOCH: never, FULU_FORK_EPOCH: never};
const config = createBeaconConfig(forks, new Uint8Array(32));
const client = getClient({baseUrl: url}, {config});
const beacon = client.beacon;

const hex = (bytes) => "0x" + Buffer.from(bytes).toString("hex");
const versionedHash = (commitment) => "0x01" + createHash("sha256").update(commitment).digest("hex").slice(2);

const genesis = (await beacon.getGenesis()).value();
const answer = await beacon.getBlobSidecars({blockId: slot});
const sidecars = answer.value();
for (const sidecar of sidecars) {
  // SSZ refuses a field of another length: a signature has 96 bytes.
  ssz.deneb.BlobSidecar.serialize(sidecar);
}
const headers = sidecars.map((sidecar) => hex(ssz.phase0.BeaconBlockHeader.hashTreeRoot(sidecar.signedBlockHeader.message)));
// Lodestar prefers SSZ; asked for JSON it must read the same.
const asJson = (await beacon.getBlobSidecars({blockId: slot}, {responseWireFormat: "json"})).value();
const bytes = (list) => hex(ssz.deneb.BlobSidecars.serialize(list));
const header = (await beacon.getBlockHeader({blockId: slot})).value();
const headers_in_slot = (await beacon.getBlockHeaders({slot})).value();
const parentRoot = hex(header.header.message.parentRoot);
const children = await beacon.getBlockHeaders({parentRoot});
const newest_headers = (await beacon.getBlockHeaders({})).value();
const chain = chainConfigFromJson((await client.config.getSpec()).value());
const {version} = (await client.node.getNodeVersion()).value();
const network = (await client.node.getNetworkIdentity()).value();
const counts = (await client.node.getPeerCount()).value();
const syncing = (await client.node.getSyncingStatus()).value();
const peers = (await client.node.getPeers({state: ["connected"]})).value();
// Until each topic was told once.
const events = await new Promise((resolve, reject) => {
  const told = new Map();
  const done = new AbortController();
  client.events.eventstream({
    topics: ["head", "finalized_checkpoint", "blob_sidecar"],
    signal: done.signal,
    onEvent: ({type, message}) => {
      told.set(type, message);
      if (told.size === 3) {
        done.abort();
        resolve(told);
      }
    },
    onError: reject,
  });
  setTimeout(() => reject(new Error(`no events but ${[...told.keys()]}`)), 60_000).unref();
});
const newest = (await beacon.getBlockHeader({blockId: events.get("head").slot})).value();
console.log(
  JSON.stringify({
    peers: peers.map((peer) => peer.state),
    topics: [...events.keys()].sort(),
    event_is_a_header: hex(newest.root) === events.get("head").block,
    wire_format: answer.wireFormat(),
    json_is_the_same: bytes(asJson) === bytes(sidecars),
    header_root: hex(header.root),
    header_slot: header.header.message.slot,
    header_is_final: children.meta().finalized && header.canonical,
    roots_in_slot: headers_in_slot.map((found) => hex(found.root)),
    roots_by_parent: children.value().map((found) => hex(found.root)),
    newest_slots: newest_headers.map((found) => found.header.message.slot >= header.header.message.slot),
    seconds_per_slot: chain.SECONDS_PER_SLOT,
    slot_ms: chain.SLOT_DURATION_MS,
    chain_ids: [chain.DEPOSIT_CHAIN_ID, chain.DEPOSIT_NETWORK_ID],
    blobs_max: chain.MAX_BLOBS_PER_BLOCK_ELECTRA,
    keeps_slots: chain.MIN_EPOCHS_FOR_BLOB_SIDECARS_REQUESTS,
    is_after_deneb: chain.DENEB_FORK_EPOCH === 0 && chain.ELECTRA_FORK_EPOCH === Infinity,
    node_version: version,
    peer_id: network.peerId,
    sequence: Number(network.metadata.seqNumber),
    connected: counts.connected,
    head_is_later: syncing.headSlot >= header.header.message.slot,
    distance: syncing.syncDistance,
    client_is_away: syncing.elOffline,
    is_optimistic: syncing.isOptimistic,
    is_syncing: syncing.isSyncing,
    health: (await client.node.getHealth()).status,
    genesis_time: genesis.genesisTime,
    identity: hex(genesis.genesisValidatorsRoot),
    version: answer.meta().version,
    slots: sidecars.map((sidecar) => sidecar.signedBlockHeader.message.slot),
    header_roots: headers,
    signature_bytes: sidecars.map((sidecar) => sidecar.signedBlockHeader.signature.length),
    versioned_hashes: sidecars.map((sidecar) => versionedHash(sidecar.kzgCommitment)),
    blob_bytes: sidecars.map((sidecar) => sidecar.blob.length),
  }),
);
