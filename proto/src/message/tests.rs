use super::*;
use proptest::prelude::*;

const ATTRIBUTES: Attributes = Attributes {
    kind: FileKind::File,
    size: u64::MAX,
    mode: 0o7777,
    mtime_ns: i64::MIN,
};

fn requests() -> Vec<Request> {
    let (export, path) = (|| "data".to_owned(), || b"a/\xff/b".to_vec());
    vec![
        Request::Put {
            transfer: 1,
            export: export(),
            path: path(),
            size: 1 << 40,
            mode: 0o644,
            mtime_ns: -1,
        },
        Request::Commit {
            transfer: u32::MAX,
            crc: 0xdead_beef,
        },
        Request::Open {
            transfer: 2,
            export: export(),
            path: path(),
        },
        Request::Read {
            transfer: 2,
            offset: 3,
            len: 1 << 33,
        },
        Request::Close { transfer: 2 },
        Request::Stat {
            export: export(),
            path: Vec::new(),
        },
        Request::List {
            export: export(),
            path: path(),
            cursor: 7,
        },
        Request::MakeDirectory {
            export: export(),
            path: path(),
            mode: 0o755,
        },
        Request::Share { transfer: 1 },
        Request::Join {
            transfer: 1,
            token: u64::MAX,
        },
        Request::Begin {
            transfer: 1,
            export: export(),
            path: path(),
            size: 1 << 40,
            mode: 0o644,
            mtime_ns: -1,
            identity: Some([7; IDENTITY_LEN]),
            holes: vec![(0, HOLE_UNIT)],
        },
        Request::Store {
            export: export(),
            files: vec![small_file()],
        },
        Request::Fetch {
            export: export(),
            paths: vec![path(), path()],
        },
        Request::OpenFile {
            transfer: 3,
            export: export(),
            path: path(),
            create: Some(0o600),
        },
        Request::Write {
            transfer: 4,
            file: 3,
            offset: HOLE_UNIT,
            len: HOLE_UNIT,
        },
        Request::WriteDone {
            transfer: 4,
            crc: 1,
        },
        Request::WriteInline {
            file: 3,
            offset: 1,
            crc: 2,
            bytes: vec![3; 3],
        },
        Request::ReadInline {
            file: 3,
            offset: 1,
            len: 2,
        },
        Request::Sync { file: 3 },
        Request::Truncate { file: 3, size: 9 },
        Request::Allocate {
            file: 3,
            offset: 0,
            len: 1,
            how: Allocation::Punch,
        },
        Request::Holes {
            transfer: 2,
            offset: 0,
        },
        Request::ReadSparse {
            transfer: 2,
            offset: 0,
            len: 1,
            holes: Vec::new(),
        },
        Request::ReadRange {
            transfer: 8,
            file: 7,
            offset: 1 << 50,
            len: 4096,
        },
        Request::FileAttributes { file: 7 },
        Request::Discard { transfer: 8 },
        Request::Remove {
            export: export(),
            path: path(),
        },
        Request::Rename {
            export: export(),
            from: path(),
            to: b"c".to_vec(),
            replace: true,
        },
        Request::RemoveDirectory {
            export: export(),
            path: path(),
        },
        Request::Describe,
        Request::MakeLink {
            export: export(),
            path: path(),
            target: b"../\xff".to_vec(),
        },
        Request::ReadLink {
            export: export(),
            path: path(),
        },
        Request::SetAttributes {
            export: export(),
            path: path(),
            mode: 0o750,
            mtime_ns: -1,
        },
    ]
}

fn small_file() -> SmallFile {
    SmallFile {
        path: b"a".to_vec(),
        mode: 0o600,
        mtime_ns: 5,
        crc: 6,
        bytes: b"seven".to_vec(),
    }
}

fn replies() -> Vec<Reply> {
    vec![
        Reply::PutReady,
        Reply::Committed {
            zero_copy_bytes: 5,
            copied_bytes: 6,
        },
        Reply::Opened {
            attributes: ATTRIBUTES,
        },
        Reply::ReadDone { crc: 9 },
        Reply::Closed,
        Reply::Attributes(ATTRIBUTES),
        Reply::Entries {
            entries: vec![Entry {
                name: b"x".to_vec(),
                attributes: ATTRIBUTES,
            }],
            next: Some(4),
        },
        Reply::Made,
        Reply::Failed(Failure {
            code: ErrorCode::NoSpace,
            message: "disk full".into(),
        }),
        Reply::Shared {
            token: 1,
            queues: 2,
        },
        Reply::Joined,
        Reply::Missing {
            ranges: vec![(1, 2)],
        },
        Reply::Begun {
            done: vec![Extent {
                offset: 1,
                len: 2,
                crc: 3,
            }],
        },
        Reply::Stored {
            failures: vec![None],
        },
        Reply::Fetched {
            files: vec![
                FetchedFile::Whole(small_file()),
                FetchedFile::Large(ATTRIBUTES),
            ],
        },
        Reply::WriteReady,
        Reply::Written {
            zero_copy_bytes: 1,
            copied_bytes: 2,
        },
        Reply::Bytes {
            crc: 1,
            bytes: vec![2],
        },
        Reply::Done,
        Reply::Holes {
            ranges: vec![(1, 2)],
            next: Some(3),
        },
        Reply::Description {
            version: "1.2.3".to_owned(),
            datapath: "udp".to_owned(),
        },
        Reply::Link {
            target: b"../\xff".to_vec(),
        },
    ]
}

#[test]
fn every_message_survives_the_wire() {
    for (id, request) in requests().into_iter().enumerate() {
        let frame = RequestFrame {
            id: id as u32,
            request,
        };
        let mut bytes = Vec::new();
        encode(&frame, &mut bytes).unwrap();
        assert_eq!(decode::<RequestFrame>(&bytes).unwrap(), frame);
    }
    for (id, reply) in replies().into_iter().enumerate() {
        let frame = ReplyFrame {
            id: id as u32,
            reply,
        };
        let mut bytes = Vec::new();
        encode(&frame, &mut bytes).unwrap();
        assert_eq!(decode::<ReplyFrame>(&bytes).unwrap(), frame);
    }
}

#[test]
fn the_encoding_is_stable() {
    let mut bytes = Vec::new();
    let frame = |request| RequestFrame { id: 300, request };
    let mut older = requests();
    // What has come to it since.
    let newer = older.split_off(older.len() - 7);
    for request in older {
        encode(&frame(request), &mut bytes).unwrap();
    }
    // A change here breaks peers of the same version: give it a new one instead.
    assert_eq!(
        &bytes[..19],
        b"\xfb\x2c\x01\x00\x01\x04data\x05a/\xff/b\xfd\0\0"
    );
    assert_eq!(crc32fast::hash(&bytes), 1143141412);
    bytes.clear();
    for request in newer {
        encode(&frame(request), &mut bytes).unwrap();
    }
    assert_eq!(
        bytes,
        b"\xfb\x2c\x01\x1a\x04data\x05a/\xff/b\
          \xfb\x2c\x01\x1b\x04data\x05a/\xff/b\x01c\x01\
          \xfb\x2c\x01\x1c\x04data\x05a/\xff/b\
          \xfb\x2c\x01\x1d\
          \xfb\x2c\x01\x1e\x04data\x05a/\xff/b\x04../\xff\
          \xfb\x2c\x01\x1f\x04data\x05a/\xff/b\
          \xfb\x2c\x01\x20\x04data\x05a/\xff/b\xfb\xe8\x01\x01"
    );
}

#[test]
fn a_full_page_of_entries_fits() {
    let entry = Entry {
        name: vec![b'n'; 64],
        attributes: ATTRIBUTES,
    };
    let reply = Reply::Entries {
        entries: vec![entry; MAX_ENTRIES],
        next: Some(u64::MAX),
    };
    let mut bytes = Vec::new();
    encode(
        &ReplyFrame {
            id: 1,
            reply: reply.clone(),
        },
        &mut bytes,
    )
    .unwrap();
    assert_eq!(decode::<ReplyFrame>(&bytes).unwrap().reply, reply);
}

#[test]
fn too_long_a_message_leaves_the_buffer_alone() {
    let request = Request::Stat {
        export: String::new(),
        path: vec![0; MAX_MESSAGE],
    };
    let mut bytes = vec![1, 2, 3];
    let error = encode(&RequestFrame { id: 0, request }, &mut bytes).unwrap_err();
    assert!(matches!(error, MessageError::TooLong { len } if len > MAX_MESSAGE));
    assert_eq!(bytes, [1, 2, 3]);
    assert_eq!(
        decode::<RequestFrame>(&vec![0; MAX_MESSAGE + 1]).unwrap_err(),
        MessageError::TooLong {
            len: MAX_MESSAGE + 1
        }
    );
}

#[test]
fn trailing_bytes_are_an_error() {
    let mut bytes = Vec::new();
    encode(
        &ReplyFrame {
            id: 1,
            reply: Reply::Made,
        },
        &mut bytes,
    )
    .unwrap();
    bytes.push(0);
    assert_eq!(
        decode::<ReplyFrame>(&bytes).unwrap_err(),
        MessageError::TrailingBytes { extra: 1 }
    );
}

#[test]
fn claimed_lengths_reserve_nothing() {
    // A Stat whose path claims 2^62 bytes, and a page that claims 2^32 entries.
    let path = b"\x00\x05\x00\xfd\x00\x00\x00\x00\x00\x00\x00\x40";
    assert!(matches!(
        decode::<RequestFrame>(path),
        Err(MessageError::Malformed(_))
    ));
    let entries = b"\x00\x06\xfd\x00\x00\x00\x00\x01\x00\x00\x00";
    assert!(matches!(
        decode::<ReplyFrame>(entries),
        Err(MessageError::Malformed(_))
    ));
}

proptest! {
    #[test]
    fn random_bytes_do_not_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        if let Ok(frame) = decode::<RequestFrame>(&bytes) {
            let mut again = Vec::new();
            encode(&frame, &mut again).unwrap();
            prop_assert_eq!(decode::<RequestFrame>(&again).unwrap(), frame);
        }
        let _ = decode::<ReplyFrame>(&bytes);
    }
}
