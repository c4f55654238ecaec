use super::*;

fn options(dir: &Path) -> DevnetOptions {
    DevnetOptions {
        validators: None,
        dir: Some(dir.to_owned()),
        blobs: None,
        seed: None,
        separate_clients: false,
        blobs_per_block: None,
        retention: None,
        archive: None,
        until_height: None,
        json: false,
        io: None,
        log: None,
    }
}

#[test]
fn a_kept_folder_is_resumed_as_it_was() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let path = dir.path().join("net");
    let first = Layout::prepare(&DevnetOptions {
        blobs_per_block: Some(24),
        retention: Some(50),
        ..options(&path)
    })
    .expect("made");
    let nodes = first.nodes().to_vec();
    assert_eq!(nodes.len(), 4);
    for node in &nodes {
        let (config, _, _) = load(&Home::open(&node.home).expect("a home")).expect("valid");
        assert!(!config.node.pin, "they share this machine's cores");
        assert_eq!(config.retention.blobs_heights, Some(50));
    }
    drop(first);
    for same in [None, Some(50)] {
        let again = Layout::prepare(&DevnetOptions {
            retention: same,
            ..options(&path)
        });
        assert_eq!(again.expect("resumed").nodes(), nodes);
    }
    for wrong in [
        DevnetOptions {
            validators: Some(5),
            ..options(&path)
        },
        DevnetOptions {
            blobs_per_block: Some(6),
            ..options(&path)
        },
        DevnetOptions {
            retention: Some(51),
            ..options(&path)
        },
    ] {
        assert!(Layout::prepare(&wrong).is_err());
    }
}

#[test]
fn a_network_without_retention_is_not_resumed_as_one_that_has_it() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let path = dir.path().join("net");
    drop(Layout::prepare(&options(&path)).expect("made"));
    // What the genesis of such a network asks for.
    let wanted = DevnetOptions {
        retention: Some(4096),
        ..options(&path)
    };
    let error = Layout::prepare(&wanted).expect_err("its nodes keep all").to_string();
    assert!(error.contains("another retention"), "{error}");
}

#[test]
fn each_node_archives_into_a_folder_of_its_own_and_goes_on_to_when_resumed() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let (path, archive) = (dir.path().join("net"), dir.path().join("archive"));
    let with = |archive: &Path| DevnetOptions {
        archive: Some(archive.to_owned()),
        ..options(&path)
    };
    let nodes = Layout::prepare(&with(&archive)).expect("made").nodes().to_vec();
    for options in [options(&path), with(&archive)] {
        drop(Layout::prepare(&options).expect("resumed"));
        for node in &nodes {
            let (config, _, _) = load(&Home::open(&node.home).expect("a home")).expect("valid");
            let expected = ArchiveAddress::Folder(archive.join(format!("node{}", node.id)));
            assert_eq!(config.archive.expect("it archives").address, expected);
        }
    }
    let error = Layout::prepare(&with(&dir.path().join("other"))).expect_err("another folder");
    assert!(error.to_string().contains("leave --archive out"), "{error}");
}

#[test]
fn a_resumed_network_moves_off_ports_that_were_taken() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let path = dir.path().join("net");
    let before = Layout::prepare(&options(&path)).expect("made").nodes().to_vec();
    let _held = std::net::TcpListener::bind(before[2].addresses.http).expect("was free");
    let after = Layout::prepare(&options(&path)).expect("resumed").nodes().to_vec();
    assert_ne!(after[2].addresses.http, before[2].addresses.http);
    let (config, _, _) = load(&Home::open(&after[0].home).expect("a home")).expect("valid");
    let peers: Vec<String> = config
        .network
        .peers
        .iter()
        .map(|peer| peer.host_port.to_string())
        .collect();
    let expected: Vec<String> = after[1..].iter().map(|node| node.addresses.quic.to_string()).collect();
    assert_eq!(peers, expected, "each knows the others' new addresses");
    let genesis = Genesis::load(&Home::open(&after[1].home).expect("a home")).expect("valid");
    let first = genesis.peers[0].host_port.to_string();
    assert_eq!(
        first,
        after[0].addresses.quic.to_string(),
        "and so does whoever joins later"
    );
}

#[test]
fn a_fresh_folder_is_new_and_private() {
    use std::os::unix::fs::PermissionsExt;
    let (one, other) = (fresh_path().expect("random"), fresh_path().expect("random"));
    assert_ne!(one, other);
    make_fresh(&one).expect("it is new");
    make_fresh(&one).expect_err("another could have made it");
    let mode = fs::metadata(&one).expect("it is there").permissions().mode();
    assert_eq!(mode & 0o777, 0o700);
    fs::remove_dir(one).expect("it is empty");
}

#[test]
fn two_devnets_do_not_share_a_folder() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let _first = Layout::prepare(&options(&dir.path().join("net"))).expect("made");
    let error = Layout::prepare(&options(&dir.path().join("net")))
        .expect_err("held")
        .to_string();
    assert!(error.contains("another devnet runs"), "{error}");
}

#[test]
fn a_folder_of_other_things_is_left_alone() {
    let dir = tempfile::tempdir().expect("temporary directory");
    fs::write(dir.path().join("thesis.txt"), "years of work").expect("writes");
    let error = Layout::prepare(&options(dir.path())).expect_err("not ours").to_string();
    assert!(error.contains("thesis.txt"), "{error}");
}

#[test]
fn a_folder_that_is_not_used_is_as_it_was() {
    use std::os::unix::ffi::OsStringExt;
    let dir = tempfile::tempdir().expect("temporary directory");
    fs::write(dir.path().join("devnet.json"), "another program's").expect("writes");
    assert!(Layout::prepare(&options(dir.path())).is_err());
    assert_eq!(fs::read_dir(dir.path()).expect("lists").count(), 1, "no lock stays");
    fs::write(dir.path().join("devnet.lock"), "another program's too").expect("writes");
    assert!(Layout::prepare(&options(dir.path())).is_err());
    let lock = fs::read(dir.path().join("devnet.lock")).expect("it stays");
    assert_eq!(lock, b"another program's too");
    let (new, empty) = (dir.path().join("new/net"), dir.path().join("empty"));
    fs::create_dir(&empty).expect("makes");
    let no_text: PathBuf = std::ffi::OsString::from_vec(b"new/n\xffet".to_vec()).into();
    let wrong = [
        DevnetOptions {
            blobs_per_block: Some(5000),
            ..options(&new)
        },
        DevnetOptions {
            blobs: Some(dir.path().join("none")),
            ..options(&new)
        },
        DevnetOptions {
            blobs: Some(empty),
            ..options(&new)
        },
        DevnetOptions {
            blobs: Some("/dev/zero".into()),
            ..options(&new)
        },
        options(&dir.path().join(no_text)),
    ];
    for wrong in wrong {
        assert!(Layout::prepare(&wrong).is_err());
        assert!(!dir.path().join("new").exists(), "nor does a folder made for it");
    }
    // What a killed run leaves is in nobody's way.
    fs::create_dir_all(new.join(".node0.new-01234567")).expect("makes");
    Layout::prepare(&options(&new)).expect("made");
}

#[test]
fn a_network_that_lacks_a_home_is_not_started() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let path = dir.path().join("net");
    drop(Layout::prepare(&options(&path)).expect("made"));
    fs::rename(path.join("node2"), dir.path().join("kept")).expect("moves");
    let error = Layout::prepare(&options(&path)).expect_err("three of four").to_string();
    assert!(error.contains("no home of node2"), "{error}");
    fs::rename(dir.path().join("kept"), path.join("node2")).expect("moves");
    drop(Layout::prepare(&options(&path)).expect("whole again"));
    fs::rename(path.join("node0"), dir.path().join("kept")).expect("moves");
    let error = Layout::prepare(&options(&path)).expect_err("no node0").to_string();
    assert!(error.contains("cut off"), "{error}");
}

#[test]
fn nodes_that_were_half_readdressed_find_each_other_again() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let path = dir.path().join("net");
    let nodes = Layout::prepare(&options(&path)).expect("made").nodes().to_vec();
    let moved = ports::free(1).expect("loopback has ports")[0];
    let home = Home::open(&nodes[0].home).expect("a home");
    let (_, _, text) = load(&home).expect("valid");
    let text = write::with_settings(&text, &network::addresses(&moved, true)).expect("valid");
    replace_file(&home.config(), &text).expect("writes");
    let after = Layout::prepare(&options(&path)).expect("resumed").nodes().to_vec();
    assert_eq!(after[0].addresses, moved);
    let (config, _, _) = load(&Home::open(&after[1].home).expect("a home")).expect("valid");
    assert_eq!(config.network.peers[0].host_port.port, moved.quic.port());
}
