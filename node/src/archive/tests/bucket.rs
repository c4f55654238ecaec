//! The same promises against an S3 server of strangers: moto, from the Python registry. `.ci/run` installs it.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use ultramarine_types::Height;

use super::rig::*;
use crate::archive::address::{ArchiveAddress, BucketAccess};
use crate::foreign;

fn program() -> Option<PathBuf> {
    foreign::program("moto_server", "an archive in a bucket")
}

struct Server {
    child: Child,
    port: u16,
}

impl Server {
    /// Starts a server, with one empty bucket.
    fn start(program: &Path, port: u16) -> Self {
        let child = Command::new(program)
            .args(["-H", "127.0.0.1", "-p", &port.to_string()])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("it starts");
        let server = Self { child, port };
        until(
            || TcpStream::connect(("127.0.0.1", port)).is_ok(),
            || "moto listens".to_owned(),
        );
        let answer = server.ask("PUT /bucket HTTP/1.0\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n");
        assert!(answer.contains(" 200 "), "{answer}");
        server
    }

    fn ask(&self, request: &str) -> String {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).expect("it listens");
        stream.write_all(request.as_bytes()).expect("written");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("read");
        answer
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn heights_are_archived_in_a_bucket_verified_and_read_back_and_a_server_that_is_away_is_waited_for() {
    let Some(program) = program() else { return };
    let dir = tempfile::tempdir().expect("a folder");
    let free = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = free.local_addr().expect("bound").port();
    drop(free);
    let server = Server::start(&program, port);
    let keys = dir.path().join("credentials");
    std::fs::write(
        &keys,
        "[default]\naws_access_key_id = testing\naws_secret_access_key = testing\n",
    )
    .expect("ours");
    std::fs::set_permissions(&keys, std::fs::Permissions::from_mode(0o600)).expect("ours");
    let access = BucketAccess {
        endpoint: Some(format!("http://127.0.0.1:{port}")),
        region: Some("us-east-1".to_owned()),
        credentials_file: Some(keys),
    };
    let address = ArchiveAddress::read("s3://bucket/some/chain").expect("an address");

    let mut rig = Rig::open(&dir.path().join("data"));
    let mut values = rig.grow(1..=8, 2);
    let uploading = rig.upload(&address, &access, 4);
    rig.wait_archived(&uploading, 8);
    for value in &values {
        let found = archived(&address, &access, value.key.height.0).expect("it is in the bucket");
        assert_same(&found, value);
    }
    let found = covered(&address, &access, Height(8));
    assert_eq!(
        (found.objects_count, found.missing.len(), found.broken.len()),
        (2, 0, 0)
    );

    drop(server);
    values.extend(rig.grow(9..=12, 2));
    uploading.wait_trouble("cannot connect");
    assert_eq!(uploading.progress.status().waiting_heights, 4);
    assert_eq!(
        rig.retire(12),
        Height(1).max(rig.retire(9)),
        "only what is archived may go"
    );
    // moto keeps its objects in memory: the new one is empty, and that is noticed.
    let _server = Server::start(&program, port);
    uploading.wait_trouble("has no object with height 8");
    drop(uploading);
    drop(rig);

    // A node that lost its directory, and decides the same blocks.
    let mut rig = Rig::open(&dir.path().join("again"));
    rig.grow(1..=12, 2);
    let uploading = rig.upload(&address, &access, 4);
    rig.wait_archived(&uploading, 12);
    assert!(covered(&address, &access, Height(12)).missing.is_empty());
}
