//! `blob put` and `blob get` beside clients and nodes that are played.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::Stdio;
use std::sync::mpsc;
use std::time::Duration;

use alloy_eips::eip4844::kzg_to_versioned_hash;
use rustix::process::Signal;
use serde_json::{Value, json};
use ultramarine::publish::encode::encode;
use ultramarine::publish::prove::commitment;

use crate::harness::{Process, fail, ultramarine};

const PATIENCE: Duration = Duration::from_secs(120);

fn text(path: &Path) -> &str {
    path.to_str().expect("temporary paths are UTF-8")
}

/// Answers every request until the process ends, by its body: a status and a body.
fn serve(answer: impl Fn(&str) -> (u16, String) + Send + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has ports");
    let url = format!("http://{}", listener.local_addr().expect("bound"));
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let _ = exchange(stream, &answer);
        }
    });
    url
}

fn exchange(mut stream: TcpStream, answer: &impl Fn(&str) -> (u16, String)) -> std::io::Result<()> {
    let mut request = Vec::new();
    let mut buffer = [0; 65536];
    let body = loop {
        let read = stream.read(&mut buffer)?;
        request.extend_from_slice(&buffer[..read]);
        let so_far = String::from_utf8_lossy(&request);
        if let Some((head, body)) = so_far.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| {
                let (name, value) = line.split_once(": ")?;
                name.eq_ignore_ascii_case("content-length")
                    .then(|| value.parse().ok())?
            });
            if body.len() >= length.unwrap_or(0) {
                break body.to_owned();
            }
        }
        if read == 0 {
            return Ok(());
        }
    };
    let (status, body) = answer(&body);
    write!(
        stream,
        "HTTP/1.1 {status} Said\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    )
}

#[test]
fn a_put_that_is_interrupted_says_how_far_it_came_and_leaves_no_lock() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let temporary = dir.path().join("tmp");
    std::fs::create_dir(&temporary).expect("made");
    let file = dir.path().join("file");
    std::fs::write(&file, "content").expect("written");
    let (tell, told) = mpsc::channel();
    let rpc = serve(move |call| {
        let call: Value = serde_json::from_str(call).expect("a call");
        let result = match call["method"].as_str().expect("a method") {
            "eth_sendRawTransaction" => json!(format!("0x{}", "0".repeat(64))),
            "eth_getTransactionByHash" => {
                let _ = tell.send(());
                json!({ "blockNumber": null })
            }
            "eth_getBlockByNumber" => json!({ "timestamp": "0x64" }),
            _ => json!("0x0"),
        };
        (200, json!({ "jsonrpc": "2.0", "id": 1, "result": result }).to_string())
    });
    let child = ultramarine(["blob", "put", text(&file), "--rpc", &rpc])
        .env("TMPDIR", &temporary)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary runs");
    let mut process = Process(child);
    told.recv_timeout(PATIENCE).expect("it is sent and looked for");
    process.signal(Signal::INT);
    let status = process.ended(PATIENCE);
    let mut said = String::new();
    let mut stderr = process.0.stderr.take().expect("piped");
    stderr.read_to_string(&mut said).expect("text");
    assert_eq!(status.code(), Some(1), "{said}");
    for part in ["interrupted (SIGINT)", " in the pool\n", "blob get --node URL"] {
        assert!(said.contains(part), "{part}: {said}");
    }
    let left = std::fs::read_dir(&temporary).expect("it is there").count();
    assert_eq!(left, 0, "no lock stays");
}

#[test]
fn a_file_without_end_is_refused_with_the_limit() {
    let mut command = ultramarine(["blob", "put", "/dev/zero", "--rpc", "http://127.0.0.1:1"]);
    let output = command.output().expect("the binary runs");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("/dev/zero") && said.contains("536870912 bytes"), "{said}");
}

#[test]
fn standard_output_gets_the_file_and_not_a_byte_more() {
    let content = b"some bytes that come back".repeat(40);
    let blobs = encode(&content).expect("small");
    let hash = kzg_to_versioned_hash(&commitment(&blobs[0]).expect("a blob").0);
    let data: Vec<String> = blobs.iter().map(|blob| format!("0x{}", hex::encode(blob))).collect();
    // Whichever it is asked for: the block of the height, or its blobs.
    let node = serve(move |_| (200, json!({ "height": 7, "slot": 9, "data": data }).to_string()));
    let name = format!("{hash}@7");
    let get = || ultramarine(["blob", "get", "--node", &node, "--out", "/dev/stdout", &name]);

    let output = get().output().expect("the binary runs");
    assert!(output.status.success() && output.stdout == content, "{output:?}");

    // Where more is collected, what is there stays.
    let dir = tempfile::tempdir().expect("temporary directory");
    let all = dir.path().join("all");
    std::fs::write(&all, "before").expect("written");
    for _ in 0..2 {
        let appended = std::fs::File::options().append(true).open(&all).expect("it is there");
        assert!(get().stdout(appended).status().expect("the binary runs").success());
    }
    let expected = [b"before".as_slice(), &content, &content].concat();
    assert!(std::fs::read(&all).expect("it is there") == expected);
}

#[test]
fn a_port_that_is_no_nodes_is_told_so() {
    let client = serve(|_| (404, String::new()));
    let name = format!("0x01{}", "0".repeat(62));
    for name in [name.clone(), format!("{name}@7")] {
        let said = fail(["blob", "get", "--node", &client, "--out", "/dev/null", &name]);
        assert!(said.contains("404") && said.contains("http.listen"), "{said}");
    }
}
