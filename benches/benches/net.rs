//! A value over loopback: our split, QUIC with mutual authentication, and part reader, beside plain TCP with one
//! archive of the whole value, encoded and decoded with copies.
//!
//! TCP here has neither encryption nor peers to multiplex, and loopback has no loss, so it is the easier race. It pays
//! for encoding, and for holding the value twice on either side.

use std::net::SocketAddr;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use rkyv::rancor::Error;
use rkyv::util::AlignedVec;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::mpsc;
use ultramarine_net::buffers::Buffers;
use ultramarine_net::frame::{FrameKind, Part, read_frame, read_part};
use ultramarine_net::streaming::split::split;
use ultramarine_net::{Identity, endpoint, message};
use ultramarine_types::chain::Limits;
use ultramarine_types::limits::BLOB_BYTES;
use ultramarine_types::{Assembly, Init, Lists, fixtures};

const PAYLOAD_BYTES: usize = 100_000;

fn value(blobs: usize) -> Assembly {
    let (payload, blob) = (vec![7; PAYLOAD_BYTES], vec![1; BLOB_BYTES]);
    fixtures::uniform(payload.into(), blob.into(), blobs)
}

/// A receiver on its own core and runtime that says once each time it has a whole value.
fn receiver<F: Future<Output = ()>>(
    receive: impl FnOnce(mpsc::Sender<()>) -> F + Send + 'static,
) -> mpsc::Receiver<()> {
    let (done, whole) = mpsc::channel(1);
    std::thread::spawn(move || runtime().block_on(receive(done)));
    whole
}

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().expect("a runtime")
}

fn loopback() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

fn quic(criterion: &mut Criterion, value: &Assembly) {
    let socket = endpoint::bind(loopback()).expect("a port");
    let address = socket.local_addr().expect("bound");
    let mut whole = receiver(move |done| async move {
        let endpoint = endpoint::open(socket, &Identity::from_secret(&[1; 32])).expect("an endpoint");
        let connection = endpoint.accept().await.expect("dialed").await.expect("connects");
        connection.set_receive_window(ultramarine_net::bounds::VALIDATOR_WINDOW_BYTES.into());
        let buffers = Buffers::new(&Limits { blobs_per_block: 128 });
        while let Ok(mut stream) = connection.accept_uni().await {
            let body = read_frame(&mut stream, FrameKind::Init)
                .await
                .expect("an Init")
                .expect("not the end");
            assert!(message::read_init(&body).is_ok());
            while !matches!(read_part(&mut stream, &buffers).await.expect("a part"), Part::Fin) {}
            if done.send(()).await.is_err() {
                return;
            }
        }
    });
    let runtime = runtime();
    let (connection, _endpoint) = runtime.block_on(async {
        let socket = endpoint::bind(loopback()).expect("a port");
        let endpoint = endpoint::open(socket, &Identity::from_secret(&[2; 32])).expect("an endpoint");
        let connection = endpoint
            .connect(address, "bench")
            .expect("dials")
            .await
            .expect("connects");
        (connection, endpoint)
    });
    let mut group = criterion.benchmark_group(format!("value-of-{}-blobs", value.blobs.len()));
    group
        .throughput(Throughput::Bytes(
            (value.blobs.len() * BLOB_BYTES + PAYLOAD_BYTES) as u64,
        ))
        .sample_size(20);
    group.bench_function("ultramarine-quic", |bench| {
        bench.iter(|| {
            runtime.block_on(async {
                let mut pieces = split(value, None);
                let mut stream = connection.open_uni().await.expect("a stream");
                stream.write_all_chunks(&mut pieces).await.expect("written");
                let _ = stream.finish();
                whole.recv().await.expect("received");
            });
        });
    });
    group.finish();
}

/// The whole value as one archive, as a node without a data path of its own would send it.
#[derive(rkyv::Archive, rkyv::Serialize, rkyv::Deserialize)]
struct Parcel {
    init: Init,
    lists: Lists,
    payload: Vec<u8>,
    blobs: Vec<Vec<u8>>,
}

fn tcp(criterion: &mut Criterion, value: &Assembly) {
    let listener = std::net::TcpListener::bind(loopback()).expect("a port");
    listener.set_nonblocking(true).expect("a socket");
    let address = listener.local_addr().expect("bound");
    let mut whole = receiver(move |done| async move {
        let listener = TcpListener::from_std(listener).expect("a listener");
        let (mut stream, _) = listener.accept().await.expect("dialed");
        while let Ok(length) = stream.read_u32_le().await {
            let mut body = AlignedVec::<16>::new();
            body.resize(length as usize, 0);
            stream.read_exact(&mut body).await.expect("a parcel");
            let parcel = rkyv::from_bytes::<Parcel, Error>(&body).expect("a whole parcel");
            assert!(!parcel.payload.is_empty());
            if done.send(()).await.is_err() {
                return;
            }
        }
    });
    let runtime = runtime();
    let mut stream = runtime.block_on(TcpStream::connect(address)).expect("connects");
    stream.set_nodelay(true).expect("a socket");
    let mut group = criterion.benchmark_group(format!("value-of-{}-blobs", value.blobs.len()));
    group
        .throughput(Throughput::Bytes(
            (value.blobs.len() * BLOB_BYTES + PAYLOAD_BYTES) as u64,
        ))
        .sample_size(20);
    group.bench_function("tcp-archive", |bench| {
        bench.iter(|| {
            runtime.block_on(async {
                let parcel = Parcel {
                    init: value.init.as_ref().clone(),
                    lists: value.lists.as_ref().clone(),
                    payload: value.payload.to_vec(),
                    blobs: value.blobs.iter().map(|blob| blob.to_vec()).collect(),
                };
                let body = rkyv::to_bytes::<Error>(&parcel).expect("plain data archives");
                stream
                    .write_u32_le(u32::try_from(body.len()).expect("small"))
                    .await
                    .expect("written");
                stream.write_all(&body).await.expect("written");
                whole.recv().await.expect("received");
            });
        });
    });
    group.finish();
}

fn values(criterion: &mut Criterion) {
    for blobs in [6, 128] {
        let value = value(blobs);
        quic(criterion, &value);
        tcp(criterion, &value);
    }
}

criterion_group!(benches, values);
criterion_main!(benches);
