//! Claims about what a node does not start with, and what it starts with under a warning.

use serde_json::json;
use ultramarine_types::{Hash, Validator};

use super::*;
use crate::config::{Override, Sources};
use crate::embedded::EmbeddedClient;
use crate::genesis::GenesisFile;
use crate::genesis::execution::genesis_hash;
use crate::genesis::tests::{GENESIS_TIME, chain, execution};

fn keys() -> Keys {
    let key = |seed: u8| ed25519_dalek::SigningKey::from_bytes(&[seed; 32]);
    Keys {
        node: key(1),
        validator: Some(key(2)),
    }
}

fn genesis(peers: &[&str], execution: &serde_json::Value) -> Genesis {
    let chain = chain(execution);
    let validators = vec![Validator {
        public_key: keys().public_key().expect("a validator"),
        power: 1,
    }];
    let peers = peers.iter().map(|peer| (*peer).to_owned()).collect();
    let file = json!(GenesisFile {
        chain,
        validators,
        salt: Hash([9; 32]),
        upgrades: Vec::new(),
        peers
    });
    let (path, execution_path) = ("genesis.json".as_ref(), "execution-genesis.json".as_ref());
    Genesis::check(path, &file.to_string(), execution_path, &execution.to_string()).expect("valid")
}

/// These settings, as flags.
fn load(settings: &[(&str, &str)]) -> (Config, Layers) {
    let flags = settings.iter().map(|(name, value)| Override {
        flag: "--set".to_owned(),
        name: (*name).to_owned(),
        value: (*value).to_owned(),
    });
    let sources = Sources {
        flags: flags.collect(),
        ..Sources::default()
    };
    Config::load("h".as_ref(), &sources).expect("valid")
}

/// What is wrong, and what is doubtful, with these settings and the peers of the genesis.
fn judge(settings: &[(&str, &str)], genesis_peers: &[&str]) -> (Vec<String>, Vec<String>) {
    let (config, layers) = load(settings);
    let genesis = genesis(genesis_peers, &execution());
    (
        misfits(&config, &layers, &genesis, &keys()),
        warnings(&config, &layers, &genesis, &keys(), GENESIS_TIME),
    )
}

#[test]
fn peers_that_no_packet_reaches_are_named() {
    let own = format!("{}@10.0.0.9:1", hex::encode(keys().peer_id().0));
    let beside_own = format!("{own},10.0.0.1:1");
    // Where it listens, its peers, and whether none or some of them is out of reach.
    for (listen, peers, none, some) in [
        ("0.0.0.0:1", "10.0.0.1:1,a:1", false, false),
        ("0.0.0.0:1", "127.0.0.1:1", false, false),
        ("127.0.0.1:1", "127.0.0.2:1,localhost:1", false, false),
        ("[::]:1", "10.0.0.1:1,[2001:db8::1]:1,[::1]:1", false, false),
        ("[::1]:1", "[::1]:2", false, false),
        ("127.0.0.1:1", own.as_str(), false, false),
        ("127.0.0.1:1", beside_own.as_str(), true, false),
        ("127.0.0.1:1", "[::1]:2,[::1]:3,[::1]:4,[::1]:5", true, false),
        ("0.0.0.0:1", "[2001:db8::1]:1", true, false),
        ("0.0.0.0:1", "[2001:db8::1]:1,10.0.0.1:1", false, true),
        ("0.0.0.0:1", "[2001:db8::1]:1,a:1", false, true),
        ("127.0.0.1:1", "10.0.0.1:1", true, false),
        ("[::1]:1", "127.0.0.1:1", true, false),
        ("[::1]:1", "[2001:db8::1]:1", true, false),
        ("[2001:db8::2]:1", "10.0.0.1:1", true, false),
    ] {
        let (wrong, doubtful) = judge(&[("network.listen", listen), ("network.peers", peers)], &["a:1"]);
        assert_eq!(
            (!wrong.is_empty(), !doubtful.is_empty()),
            (none, some),
            "{listen} {peers}: {wrong:?} {doubtful:?}"
        );
        if let Some(text) = wrong.first().or(doubtful.first()) {
            assert!(
                text.starts_with(&format!("flag --set: network.listen is {listen}")),
                "{text}"
            );
            assert!(text.contains("Listen on [::]:1"), "{text}");
        }
    }
    for (peers, named) in [
        ("[::1]:2,[::1]:3,[::1]:4", ": [::1]:2, [::1]:3, [::1]:4. Listen"),
        (
            "[::1]:2,[::1]:3,[::1]:4,[::1]:5",
            ": [::1]:2, [::1]:3, [::1]:4, …. Listen",
        ),
    ] {
        let (wrong, _) = judge(&[("network.peers", peers)], &[]);
        assert!(wrong[0].contains(named), "{wrong:?}");
    }
    let (wrong, _) = judge(&[], &["[::1]:1"]);
    assert!(wrong[0].contains("1 of the 1 peers in genesis.json"), "{wrong:?}");
}

#[test]
fn two_listeners_of_one_port_are_named() {
    for (http, rpc, is_wrong) in [
        ("127.0.0.1:9", "127.0.0.1:9", true),
        ("0.0.0.0:9", "127.0.0.1:9", true),
        ("127.0.0.1:9", "[::]:9", true),
        ("127.0.0.1:9", "127.0.0.2:9", false),
        ("127.0.0.1:9", "127.0.0.1:10", false),
        ("127.0.0.1:0", "127.0.0.1:0", false),
    ] {
        let settings = [
            ("engine.embedded", "true"),
            ("http.listen", http),
            ("engine.embedded_http", rpc),
        ];
        let (wrong, _) = judge(&settings, &[]);
        assert_eq!(wrong.len(), usize::from(is_wrong), "{http} {rpc}: {wrong:?}");
    }
    for key in ["http.listen", "engine.embedded_http"] {
        let settings = [
            ("engine.embedded", "true"),
            ("engine.embedded_auth", "127.0.0.1:9"),
            (key, "127.0.0.1:9"),
        ];
        let (wrong, _) = judge(&settings, &[]);
        assert_eq!(wrong.len(), 1, "each is told once: {wrong:?}");
        assert!(
            wrong[0].contains(key) && wrong[0].contains("engine.embedded_auth"),
            "{wrong:?}"
        );
    }
}

#[test]
fn blobs_are_kept_for_as_long_as_the_chain_asks_or_for_ever() {
    for (heights, is_wrong) in [("99", true), ("100", false), ("0", false)] {
        let (wrong, _) = judge(&[("retention.blobs_heights", heights)], &[]);
        assert_eq!(wrong.len(), usize::from(is_wrong), "{heights}: {wrong:?}");
    }
}

#[test]
fn an_execution_client_is_not_the_node_itself() {
    for (url, is_wrong) in [
        ("http://127.0.0.1:8580", true),
        ("http://localhost:8580/", true),
        ("http://127.0.0.1:8551", false),
        ("http://10.0.0.1:8580", false),
    ] {
        let (wrong, _) = judge(&[("engine.url", url)], &[]);
        assert_eq!(!wrong.is_empty(), is_wrong, "{url}: {wrong:?}");
    }
}

#[test]
fn a_client_inside_is_there_and_begins_where_the_chain_does() {
    let client = |read: fn(&serde_json::Value) -> Result<Hash, String>| EmbeddedClient {
        genesis_hash: read,
        run: |_, _| Ok(()),
    };
    let right = client(|execution| genesis_hash(execution).map_err(|error| error.to_string()));
    let other = client(|_| Ok(Hash([7; 32])));
    let none = client(|_| Err("no alloc".to_owned()));
    let chain = genesis(&[], &execution());
    let (inside, layers) = load(&[("engine.embedded", "true")]);
    let misfit = |client| EmbeddedClient::misfit(client, &inside, &layers, Some(&chain));
    assert_eq!(misfit(Some(right)), None);
    for (client, parts) in [
        (None, ["flag --set: engine.embedded is true", "feature `dev-el`"]),
        (Some(other), ["0x0707", "as the chain does"]),
        (Some(none), ["the embedded client cannot read", "(no alloc)"]),
    ] {
        let text = misfit(client).expect("a misfit");
        assert!(parts.iter().all(|part| text.contains(part)), "{text}");
    }
    let without_genesis = |client| EmbeddedClient::misfit(client, &inside, &layers, None);
    assert!(without_genesis(None).is_some(), "no client is known without a genesis");
    assert_eq!(without_genesis(Some(other)), None, "the genesis has its own words");
    let (beside, layers) = load(&[("engine.embedded", "false")]);
    assert_eq!(EmbeddedClient::misfit(None, &beside, &layers, Some(&chain)), None);
}
