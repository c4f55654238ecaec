//! Claims about what the command line accepts.

use clap::{CommandFactory, Parser};
use ultramarine_node::config::{Config, EngineEndpoint, LogFormat, Sources};

use super::home::HomeArgs;
use super::{Cli, Command};

fn parse(line: &str) -> Result<Cli, clap::Error> {
    Cli::try_parse_from(line.split_whitespace())
}

#[test]
fn the_command_line_is_consistent() {
    Cli::command().debug_assert();
}

#[test]
fn every_promised_line_parses() {
    for line in [
        "ultramarine devnet",
        "ultramarine devnet --validators 4 --dir d --blobs p --blobs-per-block 24 --until-height 40 --json --io \
         fallback",
        "ultramarine devnet --retention 50",
        "ultramarine testnet --validators 4 --dir d",
        "ultramarine testnet --validators 4 --dir d --retention 9223372036854775807",
        "ultramarine testnet --validators 2 --hosts a,b --dir d",
        "ultramarine init --home h --genesis g.json --execution-genesis e.json --peers a:1,b:2",
        "ultramarine start --home h",
        "ultramarine start --home h --engine http://127.0.0.1:8551 --jwt-secret jwt.hex",
        "ultramarine start --home h --log-format json",
        "ultramarine log-level --home h",
        "ultramarine log-level --home h info,ultramarine_net=debug",
        "ultramarine topology",
        "ultramarine top",
        "ultramarine top --node http://127.0.0.1:8580,127.0.0.1:8581 --every 2",
        "ultramarine top --dir d --once --no-color",
        "ultramarine metrics-reference",
        "ultramarine config check --home h",
        "ultramarine config show --home h",
        "ultramarine devnet --archive a",
        "ultramarine archive export --home h --from 1 --to 9 --url file:///a",
        "ultramarine archive verify --url s3://bucket/a",
        "ultramarine archive import --home h --url file:///a --from 1 --to 9",
        "ultramarine archive gaps --url file:///a --home h",
        "ultramarine archive gaps --home h",
        "ultramarine blob put file --rpc http://127.0.0.1:8545",
        "ultramarine blob get --node http://127.0.0.1:8580 --out file \
         0x0100000000000000000000000000000000000000000000000000000000000001 \
         0x0100000000000000000000000000000000000000000000000000000000000002@7",
        "ultramarine store stats --home h",
        "ultramarine store stats --home h --json",
        "ultramarine store check --home h",
        "ultramarine bench kzg --seconds 0 --json",
        "ultramarine bench kzg --as scalar",
        "ultramarine dev-el --genesis g --jwt-secret j --http-port 1 --auth-port 2",
    ] {
        if let Err(error) = parse(line) {
            panic!("{line}: {error}");
        }
    }
}

#[test]
fn what_no_chain_allows_is_refused_at_once() {
    for line in [
        "ultramarine devnet --validators 0",
        "ultramarine devnet --validators 257",
        "ultramarine devnet --blobs-per-block 5",
        "ultramarine devnet --blobs-per-block 1025",
        "ultramarine devnet --io sometimes",
        "ultramarine devnet --retention 9",
        "ultramarine testnet --validators 4 --dir d --retention 0",
        "ultramarine testnet --validators 4 --dir d --retention 9223372036854775808",
        "ultramarine testnet --dir d",
        "ultramarine blob get --node http://127.0.0.1:1 --out f",
        "ultramarine blob get --node http://127.0.0.1:1 --out f 0x01",
        "ultramarine blob get --node http://127.0.0.1:1 --out f \
         0x0100000000000000000000000000000000000000000000000000000000000001@head",
        "ultramarine bench kzg --as pentium",
        "ultramarine top --dir d --node a:1",
        "ultramarine top --every 0",
        "ultramarine archive verify",
        "ultramarine archive export --url file:///a",
    ] {
        assert!(parse(line).is_err(), "{line}");
    }
}

fn flags_of(line: &str) -> HomeArgs {
    match parse(line).expect("parses").command {
        Command::Config(super::config::Action::Check(args)) => args,
        other => panic!("{other:?}"),
    }
}

fn endpoint(flags: &str) -> (Config, EngineEndpoint) {
    let args = flags_of(&format!("ultramarine config check --home h {flags}"));
    let file = Some((
        "h/config.toml".into(),
        "[engine]\nembedded = true\nipc = \"old.ipc\"\n".to_owned(),
    ));
    let flags = args.overrides().expect("well-formed");
    let (config, _) = Config::load(
        "h".as_ref(),
        &Sources {
            file,
            flags,
            ..Sources::default()
        },
    )
    .expect("valid");
    let endpoint = config.engine.endpoint.clone();
    (config, endpoint)
}

#[test]
fn an_engine_given_by_flag_takes_the_place_of_the_embedded_one() {
    let (config, found) = endpoint("--engine http://10.0.0.1:8551 --jwt-secret secret.hex");
    assert_eq!(found, EngineEndpoint::Http("http://10.0.0.1:8551".to_owned()));
    assert!(config.engine.embedded.is_none());
    assert!(
        config.engine.jwt_secret.is_absolute(),
        "paths in flags start at the working directory"
    );
    let (_, found) = endpoint("--engine /run/el.ipc");
    assert_eq!(found, EngineEndpoint::Ipc("/run/el.ipc".into()));
}

#[test]
fn a_setting_without_a_value_is_refused() {
    let args = flags_of("ultramarine config check --home h --set node.name");
    assert!(args.overrides().is_err());
}

#[test]
fn the_form_of_the_log_is_known_though_the_configuration_is_wrong_elsewhere() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let home = dir.path().display();
    let format = |flags: &str| flags_of(&format!("ultramarine config check --home {home} {flags}")).log_format();
    assert_eq!(format(""), Some(LogFormat::Text), "no file at all");
    std::fs::write(
        dir.path().join("config.toml"),
        "[node]\nio = \"sometimes\"\nstray = 1\n[log]\nformat = \"json\"\n",
    )
    .expect("there is room");
    assert_eq!(format(""), Some(LogFormat::Json));
    assert_eq!(format("--set nothing.at_all=1"), Some(LogFormat::Json));
    assert_eq!(format("--set log.format=text"), Some(LogFormat::Text));
    assert_eq!(format("--set log.format=text --log-format json"), Some(LogFormat::Json));
    assert_eq!(format("--set node.name --log-format json"), Some(LogFormat::Json));
    assert_eq!(format("--log-format xml"), None);
}

#[test]
fn an_address_without_its_scheme_is_no_socket() {
    for engine in ["localhost:8551", "127.0.0.1:8551", "[::1]:8551"] {
        let error = flags_of(&format!("ultramarine config check --home h --engine {engine}"));
        let error = error.overrides().expect_err(engine).to_string();
        assert!(error.contains(&format!("http://{engine}")), "{error}");
    }
    let (_, found) = endpoint("--engine ./localhost:8551");
    assert!(matches!(found, EngineEndpoint::Ipc(_)));
}
