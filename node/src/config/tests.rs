//! Claims about names, kinds, lines, precedence and origins.

use std::path::Path;

use super::layers::{DEFAULTS, Layers, Override, Sources};
use super::*;

const HOME: &str = "/srv/node";

fn from_file(text: &str) -> Result<(Config, Layers), ConfigError> {
    let file = Some((PathBuf::from("config.toml"), text.to_owned()));
    Config::load(
        Path::new(HOME),
        &Sources {
            file,
            ..Sources::default()
        },
    )
}

fn complaint(text: &str) -> String {
    from_file(text).expect_err("the file is wrong").to_string()
}

fn flag(name: &str, value: &str) -> Override {
    Override {
        flag: "--set".to_owned(),
        name: name.to_owned(),
        value: value.to_owned(),
    }
}

#[test]
fn the_manual_is_a_whole_and_valid_configuration() {
    let (config, layers) = Config::load(Path::new(HOME), &Sources::default()).expect("defaults are valid");
    assert_eq!(config.node.data_dir, Path::new("/srv/node/data"));
    assert_eq!(
        config.engine.endpoint,
        EngineEndpoint::Http("http://127.0.0.1:8551".to_owned())
    );
    assert!(config.node.lanes >= 1);
    assert!(
        config.http.listen.ip().is_loopback(),
        "HTTP stays on loopback by default"
    );
    assert!(layers.iter().all(|setting| setting.origin == Origin::Default));
}

#[test]
fn every_key_of_the_manual_is_explained() {
    let mut explained = false;
    for line in DEFAULTS.lines() {
        match line.chars().next() {
            Some('#') => explained = true,
            Some('[') | None => explained = false,
            Some(_) => {
                assert!(explained, "no comment above `{line}`");
                explained = false;
            }
        }
    }
}

#[test]
fn an_unknown_key_names_file_line_choices_and_the_nearest_key() {
    let text = complaint("[node]\nname = \"a\"\n\n[network]\n# a comment\nlissten = \"0.0.0.0:1\"\n");
    assert_eq!(
        text,
        "config.toml:6: unknown key `lissten` in [network]; expected one of listen, peers, full_nodes, serving_mib_s. \
         Did you mean `listen`?"
    );
}

#[test]
fn a_key_of_another_section_is_sent_there() {
    let text = complaint("[node]\njwt_secret = \"x\"\n");
    assert!(text.starts_with("config.toml:2:"), "{text}");
    assert!(text.ends_with("Did you mean `engine.jwt_secret`?"), "{text}");
}

#[test]
fn an_unknown_section_names_the_nearest() {
    let text = complaint("\n[netwrok]\nlisten = \"0.0.0.0:1\"\n");
    assert!(text.starts_with("config.toml:2: unknown section [netwrok]"), "{text}");
    assert!(text.ends_with("Did you mean `[network]`?"), "{text}");
}

#[test]
fn a_key_outside_a_section_is_sent_into_one() {
    let text = complaint("filter = \"info\"\n");
    assert!(
        text.starts_with("config.toml:1: `filter` stands outside a section"),
        "{text}"
    );
    assert!(text.ends_with("Did you mean `log.filter`?"), "{text}");
}

#[test]
fn a_mistyped_value_says_what_was_expected() {
    let text = complaint("[node]\nlanes = \"four\"\n");
    assert!(
        text.starts_with("config.toml:2: `lanes` in [node] is \"four\" (string); expected a whole number"),
        "{text}"
    );
    let text = complaint("[network]\nlisten = 5\n");
    assert!(
        text.contains("is 5 (integer); expected a text in quotes, such as \"0.0.0.0:26650\""),
        "{text}"
    );
    let text = complaint("[node]\nlanes = -1\n");
    assert!(text.contains("expected a whole number, zero or more"), "{text}");
}

#[test]
fn a_value_out_of_range_or_unreadable_names_its_line() {
    let text = complaint("[http]\nrequests_max = 0\nlisten = \"localhost\"\n");
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 2, "both problems are told at once: {text}");
    assert!(
        lines[0].starts_with("config.toml:3: `listen` in [http] is \"localhost\", which is a name"),
        "{text}"
    );
    assert!(
        lines[1].starts_with("config.toml:2: `requests_max` in [http] is 0; expected a whole number from 1"),
        "{text}"
    );
}

#[test]
fn which_full_nodes_are_let_in_is_one_of_three_words() {
    let rule = |text: &str| from_file(text).map(|(config, _)| config.network.full_nodes);
    assert_eq!(rule("").expect("the default"), FullNodes::Any);
    for (word, expected) in [
        ("any", FullNodes::Any),
        ("listed", FullNodes::Listed),
        ("none", FullNodes::None),
    ] {
        let text = format!("[network]\nfull_nodes = \"{word}\"\n");
        assert_eq!(rule(&text).expect("a rule"), expected);
    }
    let text = complaint("[network]\nfull_nodes = \"some\"\n");
    assert_eq!(
        text,
        "config.toml:2: `full_nodes` in [network] is \"some\"; expected \"any\", \"listed\" or \"none\""
    );
}

#[test]
fn the_default_for_serving_is_the_networks_own() {
    let (config, _) = from_file("").expect("the default");
    let default = ultramarine_net::bounds::SERVING_BYTES_PER_SECOND;
    assert_eq!(config.network.serving_bytes_per_second, default);
    let text = complaint("[network]\nserving_mib_s = 0\n");
    assert!(
        text.contains("`serving_mib_s` in [network] is 0; expected a whole number from 1"),
        "{text}"
    );
}

#[test]
fn broken_toml_names_its_line() {
    let text = complaint("[node]\nname = \"a\"\nio = \n");
    assert!(text.starts_with("config.toml:3:"), "{text}");
}

#[test]
fn all_problems_are_told_at_once() {
    let text = complaint("[node]\nnme = \"a\"\n[http]\nlisen = \"b\"\n[log]\nfilter = 1\n");
    assert_eq!(text.lines().count(), 3, "{text}");
}

#[test]
fn an_execution_client_must_be_named() {
    let text = complaint("[engine]\nurl = \"\"\n");
    assert!(
        text.contains("config.toml:2: `url` in [engine] is \"\", which is empty; expected an http:// URL"),
        "{text}"
    );
    let (config, _) = from_file("[engine]\nurl = \"\"\nipc = \"el.ipc\"\n").expect("an IPC path is enough");
    assert_eq!(
        config.engine.endpoint,
        EngineEndpoint::Ipc(PathBuf::from("/srv/node/el.ipc"))
    );
}

#[test]
fn a_build_waits_as_long_as_it_is_told_and_leaves_time_to_propose() {
    let wait = |text: &str| from_file(text).expect("valid").0.engine.build_wait;
    assert_eq!(wait(""), Duration::ZERO);
    assert_eq!(wait("[engine]\nbuild_wait_ms = 500\n"), Duration::from_millis(500));
    let text = complaint("[engine]\nbuild_wait_ms = 501\n");
    assert!(
        text.starts_with("config.toml:2: `build_wait_ms` in [engine] is 501; expected a whole number from 0 to 500"),
        "{text}"
    );
}

#[test]
fn a_verifier_is_ours_or_the_reference_or_named_as_wrong() {
    let verifier = |text: &str| from_file(text).expect("valid").0.node.verifier;
    assert_eq!(verifier(""), BackEnd::Fast, "unless told otherwise");
    assert_eq!(verifier("[node]\nverifier = \"fast\"\n"), BackEnd::Fast);
    assert_eq!(verifier("[node]\nverifier = \"c-kzg\"\n"), BackEnd::CKzg);
    assert_eq!(
        complaint("[node]\nverifier = \"ckzg\"\n"),
        "config.toml:2: `verifier` in [node] is \"ckzg\"; expected \"fast\" or \"c-kzg\""
    );
}

#[test]
fn flags_win_over_environment_over_file_over_defaults() {
    let mut sources = Sources {
        file: Some((
            PathBuf::from("c.toml"),
            "[node]\nname = \"file\"\n[log]\nfilter = \"warn\"\n".to_owned(),
        )),
        environment: vec![
            ("ULTRAMARINE_NODE_NAME".to_owned(), "environment".to_owned()),
            ("ULTRAMARINE_HTTP_REQUESTS_MAX".to_owned(), "7".to_owned()),
            ("ULTRAMARINE_NETWORK_PEERS".to_owned(), "a:1, b:2".to_owned()),
            ("ULTRAMARINE_HOME".to_owned(), "not a setting".to_owned()),
            ("PATH".to_owned(), "not ours".to_owned()),
        ],
        flags: vec![flag("node.name", "flag")],
    };
    let (config, layers) = Config::load(Path::new(HOME), &sources).expect("all valid");
    assert_eq!(config.node.name, "flag");
    assert_eq!(config.http.requests_max, 7);
    assert_eq!(config.network.peers.len(), 2);
    assert_eq!(config.log.filter, "warn");
    assert_eq!(
        layers.get("node.name").origin,
        Origin::Flag {
            name: "--set".to_owned()
        }
    );
    assert_eq!(
        layers.get("log.filter").origin,
        Origin::File {
            path: PathBuf::from("c.toml"),
            line: 4
        }
    );
    assert_eq!(layers.get("node.io").origin, Origin::Default);
    sources.flags.clear();
    let (config, _) = Config::load(Path::new(HOME), &sources).expect("all valid");
    assert_eq!(config.node.name, "environment");
    sources.environment.clear();
    let (config, _) = Config::load(Path::new(HOME), &sources).expect("all valid");
    assert_eq!(config.node.name, "file");
}

#[test]
fn a_wrong_variable_or_flag_is_named_with_the_nearest_key() {
    let sources = Sources {
        environment: vec![("ULTRAMARINE_HTTP_LISTN".to_owned(), "x".to_owned())],
        flags: vec![flag("nod.name", "x"), flag("node.lanes", "many")],
        ..Sources::default()
    };
    let text = Config::load(Path::new(HOME), &sources)
        .expect_err("three mistakes")
        .to_string();
    let lines: Vec<&str> = text.lines().collect();
    assert!(
        lines[0].starts_with("environment variable ULTRAMARINE_HTTP_LISTN: unknown key `listn` in [http]"),
        "{text}"
    );
    assert!(lines[0].ends_with("Did you mean `listen`?"), "{text}");
    assert!(lines[1].ends_with("Did you mean `node.name`?"), "{text}");
    assert!(lines[2].contains("expected a whole number"), "{text}");
}

#[test]
fn sections_may_be_written_inline() {
    let (config, layers) =
        from_file("log = { filter = \"warn\" }\nnode.name = \"x\"\n").expect("TOML has many spellings");
    assert_eq!((config.log.filter.as_str(), config.node.name.as_str()), ("warn", "x"));
    assert_eq!(
        layers.get("node.name").origin,
        Origin::File {
            path: PathBuf::from("config.toml"),
            line: 2
        }
    );
    let text = complaint("[node]\n\n[http]\nlisten = { a = 1 }\n");
    assert!(text.starts_with("config.toml:4:"), "{text}");
}

#[test]
fn a_peer_address_reads_back_as_written() {
    let id = "11".repeat(32);
    for text in [
        format!("{id}@node-1.example:26650"),
        format!("{id}@[::1]:1"),
        "10.0.0.1:26650".to_owned(),
    ] {
        assert_eq!(text.parse::<PeerAddress>().expect("valid").to_string(), text);
    }
    for text in [
        "",
        "host",
        "host:0",
        "host:70000",
        "::1:5",
        "12@host:1",
        ":5",
        "a b:5",
        "@host:1",
    ] {
        assert!(text.parse::<PeerAddress>().is_err(), "{text:?} is no address");
    }
}

#[test]
fn a_mistyped_section_of_a_variable_is_named_and_a_stranger_is_not_ours() {
    let variable = |name: &str| (name.to_owned(), "x".to_owned());
    let sources = Sources {
        environment: vec![
            variable("ULTRAMARINE_NETWROK_LISTEN"),
            variable("ULTRAMARINE_ETHEREUMJS_DIR"),
        ],
        ..Sources::default()
    };
    let error = Config::load(Path::new(HOME), &sources)
        .expect_err("the name is wrong")
        .to_string();
    assert!(
        error.contains("ULTRAMARINE_NETWROK_LISTEN: unknown section `netwrok`")
            && error.contains("Did you mean `ULTRAMARINE_NETWORK_LISTEN`?"),
        "{error}"
    );
    assert!(!error.contains("ETHEREUMJS"), "{error}");
}

/// What is said of an environment; nothing if it is fine.
fn complaint_about_environment(variables: &[(&str, &str)]) -> String {
    let environment = variables
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    let sources = Sources {
        environment: environment.collect(),
        ..Sources::default()
    };
    Config::load(Path::new(HOME), &sources).map_or_else(|error| error.to_string(), |_| String::new())
}

#[test]
fn variables_that_an_orchestrator_makes_for_a_service_are_not_ours() {
    for service in [
        "NODE",
        "NODE0",
        "NODES",
        "NODE_METRICS",
        "HTTP",
        "HTTP_API",
        "HTTP_PORT_MAP",
        "ENGINE",
        "NETWORK_P2P",
        "NETWORKS",
        "LOG",
        "RETENTION",
    ] {
        for (name, value) in [
            ("SERVICE_HOST", "10.0.0.1"),
            ("SERVICE_PORT", "8580"),
            ("SERVICE_PORT_METRICS", "8580"),
            ("PORT", "tcp://10.0.0.1:8580"),
            ("PORT", "udp://[fd00::1]:26650"),
            ("PORT_8580_TCP", "tcp://10.0.0.1:8580"),
            ("PORT_8580_TCP_PROTO", "tcp"),
            ("PORT_8580_TCP_PORT", "8580"),
            ("PORT_26650_UDP_ADDR", "10.0.0.1"),
            ("PORT_26650_UDP_START", "udp://10.0.0.1:26650"),
            ("ENV_LANG", "C"),
        ] {
            let name = format!("ULTRAMARINE_{service}_{name}");
            assert_eq!(complaint_about_environment(&[(&name, value)]), "", "{name}={value}");
        }
    }
}

#[test]
fn a_mistyped_setting_is_not_taken_for_a_service() {
    for (name, nearest) in [
        ("ULTRAMARINE_NETWORK_LISTN", "listen"),
        ("ULTRAMARINE_HTTP_LISTEN_", "listen"),
        ("ULTRAMARINE_ENGINE_SERVICE_URL", ""),
        ("ULTRAMARINE_NODE_PORT_TCP", ""),
        ("ULTRAMARINE_NODE_PORT_X_TCP", ""),
        ("ULTRAMARINE_NODE_PORT_8580_LISTEN", ""),
        ("ULTRAMARINE_NODE_PORT_8580_TCP_LISTEN", ""),
    ] {
        let text = complaint_about_environment(&[(name, "127.0.0.1:1")]);
        assert!(
            text.contains(&format!("{name}: unknown key")) && text.contains("Did you mean `"),
            "{name}: {text}"
        );
        assert!(text.contains(nearest), "{name}: {text}");
    }
    let text = complaint_about_environment(&[("ULTRAMARINE_HTTP_PORT", "8580")]);
    assert!(
        text.contains("unknown key `port` in [http]"),
        "no orchestrator writes it so: {text}"
    );
}

#[test]
fn no_setting_can_be_mistaken_for_a_service() {
    let (_, layers) = Config::load(Path::new(HOME), &Sources::default()).expect("valid");
    for setting in layers.iter() {
        let rest = format!("{}_{}", setting.section, setting.key);
        assert!(!environment::is_of_service(&rest, "tcp://10.0.0.1:1"), "{rest}");
    }
}

#[test]
fn a_variable_that_is_no_text_is_named() {
    let value = String::from_utf8_lossy(b"a\xffb").into_owned();
    let text = complaint_about_environment(&[("ULTRAMARINE_NODE_NAME", &value)]);
    assert!(
        text.contains("ULTRAMARINE_NODE_NAME: `node.name`") && text.contains("UTF-8"),
        "{text}"
    );
    assert_eq!(
        complaint_about_environment(&[("ULTRAMARINE_ODD_NAME", &value), ("LESS", &value)]),
        ""
    );
}

#[test]
fn the_time_for_a_call_follows_the_chain_unless_it_is_set() {
    let on = |text: &str, blobs_per_block| {
        let (config, _) = from_file(text).expect("valid");
        config.engine.timeout_on(&Limits { blobs_per_block }).as_millis()
    };
    for (blobs, expected) in [(6, 8_000), (24, 8_720), (1024, 48_720)] {
        assert_eq!(on("", blobs), expected);
        assert_eq!(on("[engine]\ntimeout_ms = 0\n", blobs), expected);
        assert_eq!(on("[engine]\ntimeout_ms = 100\n", blobs), 100);
    }
    for wrong in [1, 99, 600_001] {
        let text = complaint(&format!("[engine]\ntimeout_ms = {wrong}\n"));
        assert!(
            text.contains(&wrong.to_string()) && text.contains("whole number from"),
            "{text}"
        );
    }
}

#[test]
fn addresses_are_read_without_the_space_around_them_and_peers_once() {
    let text = "[network]\nlisten = \" [::1]:1 \"\npeers = [\" a:1 \",\n \"A:1\", \"[::1]:2\"]\n\
                [engine]\nurl = \" http://10.0.0.1:8551/x \"\n[http]\nlisten = \"127.0.0.1:2\\n\"\n";
    let (config, _) = from_file(text).expect("valid");
    assert_eq!(config.network.listen.to_string(), "[::1]:1");
    let peers: Vec<String> = config.network.peers.iter().map(PeerAddress::to_string).collect();
    assert_eq!(peers, ["a:1", "[::1]:2"]);
    assert_eq!(
        config.engine.endpoint,
        EngineEndpoint::Http("http://10.0.0.1:8551/x".to_owned())
    );
    assert_eq!(config.http.listen.to_string(), "127.0.0.1:2");
}

#[test]
fn what_is_wrong_with_an_address_is_said() {
    let id = "11".repeat(32);
    for (section, key, value, part) in [
        (
            "network",
            "peers",
            "[\"a:1\", \"\"]".to_owned(),
            "\"\" at position 2, which is empty",
        ),
        (
            "network",
            "peers",
            format!("[\"{id}@http://a:1\"]"),
            "which has a scheme",
        ),
        (
            "network",
            "peers",
            "[\"http://12@a:5\"]".to_owned(),
            "which has a scheme",
        ),
        ("network", "peers", "[\"a\"]".to_owned(), "which has no port"),
        ("network", "peers", "[\"::1:5\"]".to_owned(), "in brackets"),
        ("network", "peers", "[\"12@a:5\"]".to_owned(), "peer id"),
        (
            "network",
            "peers",
            format!("[\"{id}@0.0.0.0:5\"]"),
            "no address to dial",
        ),
        ("network", "listen", "\"a:1\"".to_owned(), "which is a name"),
        ("http", "listen", "\"8580\"".to_owned(), "no IP address"),
        (
            "http",
            "cors_origins",
            "[\"a.example\"]".to_owned(),
            "does not begin with http",
        ),
        (
            "http",
            "cors_origins",
            "[\"https://a.example/\"]".to_owned(),
            "has a path",
        ),
        (
            "http",
            "cors_origins",
            "[\"https://A.example\"]".to_owned(),
            "capital letters",
        ),
        ("http", "cors_origins", "[\"\"]".to_owned(), "is no URL"),
        ("http", "hosts", "[\"a:80\"]".to_owned(), "port"),
        ("http", "hosts", "[\"https://a\"]".to_owned(), "scheme"),
        ("http", "hosts", "[\"127.0.0.1\"]".to_owned(), "in any case"),
        ("engine", "url", "\"https://a:1\"".to_owned(), "TLS"),
        ("engine", "url", "\"a:8551\"".to_owned(), "does not begin with http://"),
        ("engine", "url", "\"http://a\"".to_owned(), "has no port"),
        ("engine", "url", "\"http://u:p@a:1\"".to_owned(), "user name"),
        ("engine", "url", format!("\"http://{id}@a:1\""), "user name"),
        ("engine", "url", "\"http://::1:8551\"".to_owned(), "brackets"),
    ] {
        let text = complaint(&format!("[{section}]\n{key} = {value}\n"));
        assert!(
            text.starts_with(&format!("config.toml:2: `{key}` in [{section}] ")),
            "{text}"
        );
        assert!(text.contains(part), "{value}: {text}");
    }
}

#[test]
fn a_list_in_a_flag_has_no_empty_item() {
    let load = |value: &str| {
        let sources = Sources {
            flags: vec![flag("network.peers", value)],
            ..Sources::default()
        };
        Config::load(Path::new(HOME), &sources).map(|(config, _)| config.network.peers.len())
    };
    assert_eq!(load("").expect("an empty list"), 0);
    assert_eq!(load(" a:1 , b:2 ").expect("two"), 2);
    // As the manual writes lists, and as a shell leaves that.
    for (value, peers) in [
        ("[]", 0),
        (r#"["a:1"]"#, 1),
        (r#"[ "a:1", "[::1]:2" ]"#, 2),
        ("['a:1', 'b:2',]", 2),
        ("[a:1, b:2]", 2),
        ("[[::1]:9]", 1),
        ("[::1]:9", 1),
        ("[::1]:9, [::2]:9", 2),
    ] {
        assert_eq!(load(value).expect(value), peers, "{value}");
    }
    for value in [r#"["a:1""#, r#"["a:1", 2]"#, r#""a:1","b:2""#] {
        let error = load(value).expect_err(value).to_string();
        assert!(
            error.contains(r#"texts separated by commas, or a list such as ["a", "b"]"#),
            "{error}"
        );
    }
    for value in ["a:1,", ",", "a:1,,b:2"] {
        let error = load(value).expect_err(value).to_string();
        assert!(error.contains("which is empty"), "{error}");
    }
}
