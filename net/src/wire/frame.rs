//! This file knows how to cut the bytes of a stream into frames. It refuses a frame that is too long before it
//! allocates.
//!
//! ```text
//!   0      1          4             8
//!   ┌──────┬──────────┬─────────────┬───────────────┐
//!   │ kind │ zero     │ length LE   │ body          │   lengths are checked against the kind's ceiling
//!   └──────┴──────────┴─────────────┴───────────────┘
//!   list body:   list number u8, items one behind the other
//!   chunk body:  position u32 LE, bytes
//!   blob body:   position u16 LE, 131,072 bytes
//! ```

use bytes::{BufMut, Bytes, BytesMut};
use rkyv::util::AlignedVec;
use tokio::io::{AsyncRead, AsyncReadExt};
use ultramarine_types::ListKind;
use ultramarine_types::limits::{BLOB_BYTES, PAYLOAD_CHUNK_BYTES};

use crate::bounds;
use crate::buffers::Buffers;

/// Bytes of a frame's header.
pub const HEADER_BYTES: usize = 8;

numbered! {
    /// What a frame carries.
    #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Hash)]
    pub enum FrameKind: u8 {
        /// First on the control stream, with a fixed layout: [`crate::wire::hello::Hello`].
        Hello = 1,
        Message = 2,
        Status = 3,
        /// A call of a validator that has just started, or an answer to one.
        Hearing = 4,
        /// An `Init`: first on a stream of parts.
        Init = 16,
        Chunk = 17,
        Blob = 18,
        /// Last on a stream of parts.
        Fin = 19,
        /// One of the four lists that the `Init` binds: before the parts that it is about.
        List = 20,
        /// Asks for parts of a value.
        PartsRequest = 32,
        /// We do not hold the whole value that was asked for.
        NotHeld = 33,
        /// Asks for a decided height.
        ValueRequest = 34,
        ValueResponse = 35,
        /// The package that a [`FrameKind::ValueResponse`] has announced. Its raw blobs follow without frames.
        ValueBytes = 36,
    }
}

impl FrameKind {
    pub const fn body_bytes_max(self) -> usize {
        match self {
            Self::Hello => bounds::HELLO_BYTES_MAX,
            Self::Message => bounds::MESSAGE_FRAME_BYTES_MAX,
            Self::Status => bounds::STATUS_FRAME_BYTES_MAX,
            Self::Hearing => bounds::HEARING_FRAME_BYTES_MAX,
            Self::Init => bounds::INIT_FRAME_BYTES_MAX,
            Self::List => bounds::LIST_FRAME_BYTES_MAX,
            Self::Chunk => bounds::CHUNK_FRAME_BYTES_MAX,
            Self::Blob => bounds::BLOB_FRAME_BYTES_MAX,
            Self::Fin | Self::NotHeld => 0,
            Self::PartsRequest | Self::ValueRequest => bounds::REQUEST_FRAME_BYTES_MAX,
            Self::ValueResponse => bounds::CERTIFICATE_BYTES_MAX,
            Self::ValueBytes => bounds::PACKAGE_FRAME_BYTES_MAX,
        }
    }
}

/// Why a frame could not be read.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ReadFault {
    /// The stream or connection broke. We cannot prove anybody's fault.
    #[error("stream ended: {0}")]
    Broken(String),
    /// The bytes are no frame, or the frame is too long, or its kind may not come here.
    #[error("{0}")]
    Protocol(&'static str),
}

/// A frame's kind and body length.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Header {
    pub kind: FrameKind,
    /// Bytes of the body, within the kind's ceiling.
    pub body_bytes: usize,
}

impl Header {
    pub fn parse(bytes: [u8; HEADER_BYTES]) -> Result<Self, ReadFault> {
        let [kind, zero @ .., a, b, c, d] = bytes;
        let kind = FrameKind::of(kind).ok_or(ReadFault::Protocol("unknown frame kind"))?;
        if zero != [0; 3] {
            return Err(ReadFault::Protocol("reserved header bytes are not zero"));
        }
        let body_bytes = u32::from_le_bytes([a, b, c, d]) as usize;
        if body_bytes > kind.body_bytes_max() {
            return Err(ReadFault::Protocol("frame is longer than its kind allows"));
        }
        Ok(Self { kind, body_bytes })
    }

    /// The bytes of a header.
    pub fn bytes(self) -> [u8; HEADER_BYTES] {
        let length = u32::try_from(self.body_bytes).expect("frame ceilings are far below 4 GiB");
        let [a, b, c, d] = length.to_le_bytes();
        [self.kind as u8, 0, 0, 0, a, b, c, d]
    }
}

/// Makes a frame around a body that we made.
///
/// # Panics
/// If the body is longer than its kind allows: our own fault.
pub fn frame(kind: FrameKind, body: &[u8]) -> Bytes {
    assert!(
        body.len() <= kind.body_bytes_max(),
        "{kind:?} frame of {} bytes is over its ceiling",
        body.len()
    );
    let mut bytes = BytesMut::with_capacity(HEADER_BYTES + body.len());
    bytes.put_slice(
        &Header {
            kind,
            body_bytes: body.len(),
        }
        .bytes(),
    );
    bytes.put_slice(body);
    bytes.freeze()
}

/// Reads a header; `None` if the stream ends cleanly before its first byte.
pub async fn read_header<R: AsyncRead + Unpin>(reader: &mut R) -> Result<Option<Header>, ReadFault> {
    let mut bytes = [0; HEADER_BYTES];
    let (first, rest) = bytes.split_at_mut(1);
    if reader.read(first).await.map_err(broken)? == 0 {
        return Ok(None);
    }
    reader.read_exact(rest).await.map_err(broken)?;
    Header::parse(bytes).map(Some)
}

/// Reads a body into a buffer aligned for archives.
pub async fn read_body<R: AsyncRead + Unpin>(reader: &mut R, header: Header) -> Result<AlignedVec, ReadFault> {
    // The buffer grows as bytes arrive: a liar that announces 16 MiB and sends none costs 64 KiB.
    let mut body = AlignedVec::with_capacity(header.body_bytes.min(PAYLOAD_CHUNK_BYTES));
    while body.len() < header.body_bytes {
        let start = body.len();
        let end = header.body_bytes.min(start + PAYLOAD_CHUNK_BYTES.max(start));
        body.resize(end, 0);
        let room = body.get_mut(start..).ok_or(ReadFault::Protocol("body length"))?;
        reader.read_exact(room).await.map_err(broken)?;
    }
    Ok(body)
}

/// Reads a frame that must have this kind; `None` if the stream ends cleanly before it.
pub async fn read_frame<R: AsyncRead + Unpin>(
    reader: &mut R,
    kind: FrameKind,
) -> Result<Option<AlignedVec>, ReadFault> {
    match read_header(reader).await? {
        None => Ok(None),
        Some(header) if header.kind == kind => read_body(reader, header).await.map(Some),
        Some(_) => Err(ReadFault::Protocol("a frame of this kind may not come here")),
    }
}

/// What comes next on a stream of a value's parts.
#[derive(Clone, Debug)]
pub enum Part {
    /// The items of one list, one behind the other.
    List {
        kind: ListKind,
        items: Bytes,
    },
    Chunk {
        index: u32,
        bytes: Bytes,
    },
    Blob {
        index: u16,
        blob: Bytes,
    },
    Fin,
}

/// What a part is and where it belongs: its frame without its bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PartHead {
    List(ListKind),
    Chunk(u32),
    Blob(u16),
    Fin,
}

impl PartHead {
    /// Bytes of the number that a part's body begins with, and those behind it.
    pub fn lengths(header: Header) -> Result<(usize, usize), ReadFault> {
        let number_bytes = match header.kind {
            FrameKind::List => 1,
            FrameKind::Chunk => 4,
            FrameKind::Blob => 2,
            FrameKind::Fin => 0,
            _ => return Err(ReadFault::Protocol("not a part of a value")),
        };
        let rest = header.body_bytes.checked_sub(number_bytes);
        let rest = rest.ok_or(ReadFault::Protocol("a part without its number"))?;
        match header.kind {
            FrameKind::Blob if rest != BLOB_BYTES => Err(ReadFault::Protocol("blob frame of the wrong length")),
            _ => Ok((number_bytes, rest)),
        }
    }

    /// Reads the number behind a part's header. It is as long as [`lengths`](Self::lengths) says.
    pub fn parse(kind: FrameKind, number: &[u8]) -> Result<Self, ReadFault> {
        match (kind, number) {
            (FrameKind::List, &[number]) => ListKind::of(number)
                .map(Self::List)
                .ok_or(ReadFault::Protocol("unknown list number")),
            (FrameKind::Chunk, &[a, b, c, d]) => Ok(Self::Chunk(u32::from_le_bytes([a, b, c, d]))),
            (FrameKind::Blob, &[a, b]) => Ok(Self::Blob(u16::from_le_bytes([a, b]))),
            (FrameKind::Fin, []) => Ok(Self::Fin),
            _ => Err(ReadFault::Protocol("not a part of a value")),
        }
    }

    /// The part with these bytes.
    pub fn with(self, bytes: Bytes) -> Part {
        match self {
            Self::List(kind) => Part::List { kind, items: bytes },
            Self::Chunk(index) => Part::Chunk { index, bytes },
            Self::Blob(index) => Part::Blob { index, blob: bytes },
            Self::Fin => Part::Fin,
        }
    }
}

/// Reads the next part of a value. A stream that ends without `Fin` is broken.
pub async fn read_part<R: AsyncRead + Unpin>(reader: &mut R, buffers: &Buffers) -> Result<Part, ReadFault> {
    let Some(header) = read_header(reader).await? else {
        return Err(ReadFault::Broken("no Fin".into()));
    };
    let (number_bytes, rest) = PartHead::lengths(header)?;
    let mut number = [0; 4];
    let (number, _) = number.split_at_mut(number_bytes);
    reader.read_exact(number).await.map_err(broken)?;
    let head = PartHead::parse(header.kind, number)?;
    let bytes = match head {
        PartHead::List(_) | PartHead::Chunk(_) => read_bytes(reader, rest).await?,
        PartHead::Blob(_) => read_blob(reader, buffers).await?,
        PartHead::Fin => Bytes::new(),
    };
    Ok(head.with(bytes))
}

/// Reads as many bytes as a small part has: 64 KiB at most, as the frame ceilings say.
async fn read_bytes<R: AsyncRead + Unpin>(reader: &mut R, bytes_count: usize) -> Result<Bytes, ReadFault> {
    let mut bytes = BytesMut::zeroed(bytes_count);
    reader.read_exact(&mut bytes).await.map_err(broken)?;
    Ok(bytes.freeze())
}

/// Reads 131,072 bytes straight into a pooled buffer, which the lanes and the store then share.
pub async fn read_blob<R: AsyncRead + Unpin>(reader: &mut R, buffers: &Buffers) -> Result<Bytes, ReadFault> {
    let mut buffer = buffers.take();
    reader.read_exact(buffer.as_mut()).await.map_err(broken)?;
    Ok(buffer.freeze())
}

fn broken(error: std::io::Error) -> ReadFault {
    ReadFault::Broken(error.to_string())
}
