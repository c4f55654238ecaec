//! Claims about where a node does not write.

use std::os::unix::fs::symlink;

use super::*;
use crate::config::{Override, Sources};

/// A home with every file that one has, and what is wrong with it under these settings.
struct Place {
    dir: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("temporary directory");
        let place = Self { dir };
        fs::create_dir_all(place.root().join("data")).expect("ours");
        for name in [
            "config.toml",
            "genesis.json",
            "execution-genesis.json",
            "node.key",
            "validator.key",
            "jwt.hex",
            "data/LOCK",
        ] {
            fs::write(place.root().join(name), "secret").expect("ours");
        }
        place
    }

    fn root(&self) -> PathBuf {
        self.dir.path().join("home")
    }

    fn judge(&self, settings: &[(&str, &str)]) -> Vec<String> {
        let flags = settings.iter().map(|(name, value)| Override {
            flag: "--set".to_owned(),
            name: (*name).to_owned(),
            value: (*value).to_owned(),
        });
        let sources = Sources {
            flags: flags.collect(),
            ..Sources::default()
        };
        let (config, layers) = Config::load(&self.root(), &sources).expect("valid");
        let home = Home::open(&self.root()).expect("a home");
        misplaced(&home, &config, &layers)
    }
}

#[test]
fn no_setting_makes_a_node_write_into_what_it_lives_on() {
    let place = Place::new();
    let root = place.root();
    symlink("validator.key", root.join("a.log")).expect("ours");
    symlink("data/not-there-yet", root.join("b.log")).expect("ours");
    symlink(&root, place.dir.path().join("other-name")).expect("ours");
    fs::hard_link(root.join("node.key"), root.join("c.log")).expect("ours");
    fs::write(root.join("secret.7"), "x").expect("ours");
    let other = place.dir.path().join("other-name/validator.key");
    for (value, why) in [
        ("validator.key", "the validator's key"),
        ("./x/../validator.key", "the validator's key"),
        ("../home/validator.key", "the validator's key"),
        (other.to_str().expect("text"), "the validator's key"),
        ("a.log", "the validator's key"),
        ("c.log", "the node's key"),
        ("node.key", "the node's key"),
        ("config.toml", "the configuration"),
        ("genesis.json", "the genesis"),
        ("execution-genesis.json", "the execution client's genesis"),
        ("jwt.hex", "the Engine API's secret"),
        ("secret.7", "the Engine API's secret"),
        ("data/LOCK", "in the data directory"),
        ("data/new/node.log", "in the data directory"),
        ("data/../data/index.redb", "in the data directory"),
        ("b.log", "in the data directory"),
        ("data", "in the data directory"),
        (".", "a folder"),
        ("", ""),
        ("logs/node.log", ""),
    ] {
        for name in ["log.file", "log.messages_file"] {
            let wrong = place.judge(&[(name, value), ("engine.jwt_secret", "secret.7")]);
            if why.is_empty() {
                assert_eq!(wrong, Vec::<String>::new(), "{name} {value}");
                continue;
            }
            let [line] = &wrong[..] else {
                panic!("{name} {value}: {wrong:?}")
            };
            assert!(
                line.starts_with(&format!("flag --set: {name} is ")) && line.contains(why),
                "{line}"
            );
        }
    }
    let turned = place.judge(&[("log.file", "secret"), ("engine.jwt_secret", "secret.7")]);
    assert!(turned.len() == 1 && turned[0].contains("would become"), "{turned:?}");
    let both = place.judge(&[("log.file", "x.log"), ("log.messages_file", "./x.log")]);
    assert!(both.len() == 1 && both[0].contains("as is log.file"), "{both:?}");
    let inside = place.judge(&[("archive.url", &format!("file://{}/data/archive", root.display()))]);
    assert!(
        inside.len() == 1 && inside[0].contains("in the data directory"),
        "{inside:?}"
    );
    let beside = place.judge(&[("archive.url", &format!("file://{}/archive", root.display()))]);
    assert_eq!(beside, Vec::<String>::new());
}

#[test]
fn a_log_is_appended_to_a_log_alone() {
    let place = Place::new();
    let path = place.root().join("node.log");
    for (text, is_fit) in [
        ("", true),
        ("2026-01-02T03:04:05.678Z  INFO a: b\n", true),
        ("2026-0", true),
        ("{\"blobs\":0,\"level\":\"INFO\"}\n", true),
        ("{", true),
        ("\0\0\0\0", true),
        ("2026/01/02 a web server's\n", false),
        ("{\n  \"chain\": 1\n}\n", false),
        ("[node]\n", false),
        ("0x0123456789abcdef\n", false),
        ("#!/bin/sh\n", false),
    ] {
        fs::write(&path, text).expect("ours");
        let wrong = place.judge(&[("log.file", "node.log")]);
        assert_eq!(wrong.is_empty(), is_fit, "{text:?}: {wrong:?}");
        assert!(
            is_fit || wrong[0].contains("is no log of a node"),
            "{text:?}: {wrong:?}"
        );
    }
    let socket = std::os::unix::net::UnixListener::bind(place.root().join("socket")).expect("ours");
    let wrong = place.judge(&[("log.file", "socket")]);
    assert!(wrong.len() == 1 && wrong[0].contains("no plain file"), "{wrong:?}");
    drop(socket);
}
