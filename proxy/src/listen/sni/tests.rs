//! ClientHellos written by hand, field by field, and what is made of each way to break one.

use proptest::prelude::*;

use super::*;

fn vector(prefix: usize, body: &[u8]) -> Vec<u8> {
    let count = (body.len() as u32).to_be_bytes();
    [&count[4 - prefix..], body].concat()
}

fn extension(kind: u16, body: &[u8]) -> Vec<u8> {
    [&kind.to_be_bytes()[..], &vector(2, body)].concat()
}

/// The body of a `server_name` extension with these names of type `host_name`.
fn names(names: &[&[u8]]) -> Vec<u8> {
    let list: Vec<u8> = names.iter().flat_map(|name| [vec![0], vector(2, name)].concat()).collect();
    vector(2, &list)
}

/// A ClientHello with these extensions, as one handshake message.
fn message(extensions: Option<&[Vec<u8>]>) -> Vec<u8> {
    let mut body = vec![3, 3];
    body.extend([7; 32]);
    body.extend(vector(1, &[9; 32]));
    body.extend(vector(2, &[0x13, 0x01]));
    body.extend(vector(1, &[0]));
    if let Some(extensions) = extensions {
        body.extend(vector(2, &extensions.concat()));
    }
    [vec![1], vector(3, &body)].concat()
}

fn record(body: &[u8]) -> Vec<u8> {
    [&[0x16, 3, 1][..], &vector(2, body)].concat()
}

fn hello(name: &[u8]) -> Vec<u8> {
    record(&message(Some(&[extension(0, &names(&[name]))])))
}

fn read(bytes: &[u8]) -> Verdict {
    Reader::new().feed(bytes)
}

fn named(name: &str) -> Verdict {
    Verdict::Hello(Hello { name: Some(ServerName(name.into())), mesh: false })
}

#[test]
fn the_name_is_found_among_other_extensions_and_folded() {
    assert_eq!(read(&hello(b"Shop.Example.com.")), named("shop.example.com"));
    let others = [extension(43, &[2, 3, 4]), extension(0, &names(&[b"a_b.c"])), extension(51, &[0; 1200])];
    assert_eq!(read(&record(&message(Some(&others)))), named("a_b.c"));
    // What follows the ClientHello is not looked at.
    let followed = [hello(b"a.b"), vec![0x17, 3, 3, 0xff, 0xff]].concat();
    assert_eq!(read(&followed), named("a.b"));
}

#[test]
fn a_hello_without_a_name_has_none() {
    for extensions in [None, Some(&[][..]), Some(&[extension(43, &[2, 3, 4])][..])] {
        assert_eq!(read(&record(&message(extensions))), Verdict::Hello(Hello::default()));
    }
    for address in ["10.0.0.1", "::1"] {
        assert_eq!(read(&hello(address.as_bytes())), Verdict::Hello(Hello::default()), "{address}");
    }
}

#[test]
fn records_and_segments_may_cut_it_anywhere() {
    let message = message(Some(&[extension(0, &names(&[b"a.example"]))]));
    for size in [1, 2, 3, 4, 5, 50, message.len() - 1] {
        let bytes: Vec<u8> = message.chunks(size).flat_map(record).collect();
        assert_eq!(read(&bytes), named("a.example"), "records of {size}");
        let mut reader = Reader::new();
        let (last, first) = bytes.split_last().unwrap();
        for byte in first {
            assert_eq!(reader.feed(&[*byte]), Verdict::NeedMore, "records of {size}");
        }
        assert_eq!(reader.feed(&[*last]), named("a.example"), "records of {size}");
    }
    assert_eq!(read(b""), Verdict::NeedMore);
}

#[test]
fn what_is_no_client_hello_is_malformed_at_once() {
    let good = hello(b"a.example");
    let with = |at: usize, byte: u8| {
        let mut bytes = good.clone();
        bytes[at] = byte;
        bytes
    };
    let name = |name: &[u8]| hello(name);
    let extensions = |extensions: &[Vec<u8>]| record(&message(Some(extensions)));
    let cases: Vec<(&str, Vec<u8>)> = vec![
        ("HTTP", b"GET / HTTP/1.1\r\n\r\n".to_vec()),
        ("another record type", with(0, 0x15)),
        ("SSL 2", vec![0x80, 0x2e]),
        ("another major version", with(1, 2)),
        ("an empty record", vec![0x16, 3, 1, 0, 0]),
        ("a record longer than the limit", vec![0x16, 3, 1, 0x40, 0x01]),
        ("another handshake message", with(5, 2)),
        ("a message shorter than its fields", with(8, 20)),
        ("a session id longer than it may be", with(43, 33)),
        ("an empty name list", extensions(&[extension(0, &[0, 0])])),
        ("no name list", extensions(&[extension(0, &[])])),
        ("bytes behind the list", extensions(&[extension(0, &[&names(&[b"a.b"])[..], &[0]].concat())])),
        ("two names", extensions(&[extension(0, &names(&[b"a.b", b"c.d"]))])),
        ("two extensions", extensions(&[extension(0, &names(&[b"a.b"])), extension(0, &names(&[b"c.d"]))])),
        ("a cut extension", extensions(&[vec![0, 43, 0]])),
        ("an empty name", name(b"")),
        ("a name of dots", name(b"..")),
        ("a space", name(b"a b")),
        ("a wildcard", name(b"*.b")),
        ("a NUL", name(b"a.b\0.c")),
        ("not ASCII", name("ä.de".as_bytes())),
        ("a long label", name(&[b'a'; 64])),
        ("a long name", name([b"a.".as_slice(); 128].concat().as_slice())),
    ];
    for (what, bytes) in cases {
        assert_eq!(read(&bytes), Verdict::Malformed, "{what}");
    }
}

#[test]
fn a_long_hello_is_refused_when_its_length_is_known() {
    let padding = |count: usize| message(Some(&[extension(21, &vec![0; count])]));
    let fits = padding(MOST - 200);
    assert_eq!(read(&record(&fits)), Verdict::Hello(Hello::default()));
    let long = padding(MOST);
    assert_eq!(read(&record(&long[..200])), Verdict::Malformed, "its header says how long it is");
    // The same message that fits into one record is too long in small ones.
    let small: Vec<u8> = fits.chunks(10).flat_map(record).collect();
    let mut reader = Reader::new();
    let until = small.chunks(1).position(|byte| reader.feed(byte) == Verdict::Malformed);
    assert!(until.is_some_and(|at| at < MOST), "{until:?}");
}

/// The body of an ALPN extension with these protocols.
fn protocols(names: &[&[u8]]) -> Vec<u8> {
    vector(2, &names.iter().flat_map(|name| vector(1, name)).collect::<Vec<u8>>())
}

#[test]
fn a_proxy_of_the_mesh_is_told_by_its_protocol() {
    let mesh = |extensions: &[Vec<u8>]| match read(&record(&message(Some(extensions)))) {
        Verdict::Hello(hello) => hello.mesh,
        other => panic!("{other:?}"),
    };
    for name in MESH {
        assert!(mesh(&[extension(16, &protocols(&[name]))]));
        assert!(mesh(&[extension(51, &[0; 1200]), extension(16, &protocols(&[b"h2", name, b"http/1.1"]))]));
    }
    for names in [
        &[&b"h2"[..], b"http/1.1"][..],
        &[b"outrigger-h3"],
        &[b"outrigger-h"],
        &[b"outrigger-h22"],
        &[b"Outrigger-h2"],
        &[b"outrigger"],
    ] {
        assert!(!mesh(&[extension(16, &protocols(names))]), "{names:?}");
    }
    assert!(!mesh(&[]));
    let ours = protocols(&[MESH[0]]);
    for broken in [
        vec![extension(16, &ours), extension(16, &ours)],
        vec![extension(16, &[&ours[..], &[0]].concat())],
        vec![extension(16, &protocols(&[MESH[0], b""]))],
        vec![extension(16, &[])],
        vec![extension(16, &ours[..5])],
    ] {
        assert!(!mesh(&broken), "{broken:?}");
    }
}

#[test]
fn a_protocol_is_found_however_records_and_segments_cut_it() {
    let named = [extension(0, &names(&[b"a.b"])), extension(16, &protocols(&[b"x", MESH[1]]))];
    let message = message(Some(&named));
    let expected = Verdict::Hello(Hello { name: Some(ServerName("a.b".into())), mesh: true });
    for size in [1, 2, 7, 50, message.len()] {
        let bytes: Vec<u8> = message.chunks(size).flat_map(record).collect();
        for segment in [1, 3, bytes.len()] {
            let mut reader = Reader::new();
            let told = bytes
                .chunks(segment)
                .map(|chunk| reader.feed(chunk))
                .find(|verdict| *verdict != Verdict::NeedMore);
            assert_eq!(told.as_ref(), Some(&expected), "records of {size}, segments of {segment}");
        }
    }
}

proptest! {
    #[test]
    fn any_bytes_in_any_chunks_are_read_alike(bytes in prop::collection::vec(any::<u8>(), 0..400), size in 1usize..40) {
        crate::fuzzing::client_hello(&[&[size as u8][..], &bytes].concat());
    }

    #[test]
    fn a_damaged_hello_never_panics(at in 0usize..120, byte in any::<u8>(), cut in 0usize..130) {
        let mut bytes = hello(b"a.example.com");
        if let Some(place) = bytes.get_mut(at) {
            *place = byte;
        }
        bytes.truncate(bytes.len().saturating_sub(cut.saturating_sub(60)));
        crate::fuzzing::client_hello(&[&[3][..], &bytes].concat());
    }
}
