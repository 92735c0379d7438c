//! The properties that fuzz targets and their replayed corpora hold the parsers of foreign bytes to.
//!
//! One function per target, each takes any bytes and panics when a property does not hold. Nothing of the product calls
//! these; they stand here so that the fuzz targets and the tests of this crate share them.

use std::time::Instant;

use http::{HeaderMap, HeaderName, HeaderValue};
use outrigger_config::{
    SpiffeId,
    model::{Limits, Propagation},
};
use rustls::pki_types::CertificateDer;

use crate::{
    identity::Svid,
    listen::{
        detect::{Detector, Verdict},
        header_watch::{HeaderWatch, Protocol},
        sni, sniff,
    },
    request::{
        path::{PathRules, canonical},
        timeout::{format_grpc, parse_grpc},
    },
    telemetry::trace::propagation::{Context, Forms, Found},
};

/// The verdict does not depend on how the bytes arrive.
pub fn detect(bytes: &[u8]) {
    let whole = Detector::new().feed(bytes);
    let mut detector = Detector::new();
    let single =
        bytes.iter().map(|byte| detector.feed(&[*byte])).find(|verdict| *verdict != Verdict::NeedMore);
    assert_eq!(single.unwrap_or(Verdict::NeedMore), whole, "the verdict depends on the chunks");
}

/// Once told, what a connection speaks does not change with more bytes, and HTTP is what the server takes for it too.
pub fn sniff(bytes: &[u8]) {
    let told = (1..=bytes.len()).map(|end| sniff::sniff(&bytes[..end]));
    let mut told = told.skip_while(|verdict| *verdict == sniff::Verdict::NeedMore);
    let Some(first) = told.next() else { return };
    assert!(told.all(|verdict| verdict == first), "{first:?} was not the last word");
    let detected = Detector::new().feed(bytes);
    match first {
        sniff::Verdict::Http1 => assert_eq!(detected, Verdict::Http1),
        sniff::Verdict::Http2 => assert_eq!(detected, Verdict::Http2),
        sniff::Verdict::Tls => assert_eq!(detected, Verdict::Tls),
        sniff::Verdict::NeedMore | sniff::Verdict::Other => {}
    }
}

/// The first byte says how the rest is cut; deadlines do not depend on the cutting.
pub fn header_watch(bytes: &[u8]) {
    let Some((&first, bytes)) = bytes.split_first() else { return };
    let (now, limits) = (Instant::now(), Limits::default());
    for protocol in [Protocol::Http1, Protocol::Http2] {
        let mut whole = HeaderWatch::new(protocol, now);
        whole.bytes_read(bytes, now);
        let mut cut = HeaderWatch::new(protocol, now);
        for chunk in bytes.chunks(usize::from(first) + 1) {
            cut.bytes_read(chunk, now);
        }
        assert_eq!(whole.deadline(&limits), cut.deadline(&limits), "the deadline depends on the chunks");
    }
}

/// The first byte says how the rest is cut; what is read does not depend on the cutting, is read within the limit, and
/// a name is one that a rule could have.
pub fn client_hello(bytes: &[u8]) {
    let Some((&first, bytes)) = bytes.split_first() else { return };
    let whole = sni::Reader::new().feed(bytes);
    let mut reader = sni::Reader::new();
    let mut read = 0;
    let mut cut = bytes.chunks(usize::from(first) + 1).map(|chunk| {
        read += chunk.len();
        reader.feed(chunk)
    });
    let cut = cut.find(|verdict| *verdict != sni::Verdict::NeedMore);
    let cut = cut.unwrap_or(sni::Verdict::NeedMore);
    assert_eq!(cut, whole, "what is read depends on the chunks");
    // The header of one more record, and the rest of a chunk, may have come along.
    assert!(read <= sni::MOST + 5 + usize::from(first) + 1, "{read} bytes were read");
    if let sni::Verdict::Hello(sni::Hello { name: Some(name), .. }) = whole {
        let name = name.as_str();
        assert_eq!(name, name.to_ascii_lowercase());
        assert!(!name.is_empty() && !name.ends_with('.') && !name.contains(['*', '\0', ' ']), "{name:?}");
    }
}

/// A canonical path is canonical, and holds nothing that a server could resolve further.
pub fn path(bytes: &[u8]) {
    let Ok(path) = std::str::from_utf8(bytes) else { return };
    for rules in [PathRules::Plain, PathRules::Policy] {
        let Ok(rewritten) = canonical(path, rules) else { continue };
        let path = rewritten.as_deref().unwrap_or(path);
        assert_eq!(canonical(path, rules), Ok(None), "not idempotent");
        assert!(path.is_ascii() && path.starts_with('/') && !path.contains("//"), "not canonical");
        assert!(path.split('/').all(|segment| segment != "." && segment != ".."), "dot segments are left");
        let lower = path.to_ascii_lowercase();
        assert!(!lower.contains("%2e") && !lower.contains("%00"), "escapes are left");
        if rules == PathRules::Policy {
            assert!(
                !lower.contains("%2f") && !lower.contains("%5c") && !path.contains('\\'),
                "a separator is left"
            );
        }
    }
}

/// What is read is written and read again as no more than it was, to a hundred-thousandth: five digits are left after a change of unit.
pub fn grpc_timeout(bytes: &[u8]) {
    if let Ok(timeout) = parse_grpc(bytes) {
        let again = parse_grpc(format_grpc(timeout).as_bytes()).expect("what was written can be read");
        assert!(again <= timeout, "a deadline grew");
        assert!((timeout - again).as_nanos() * 100_000 <= timeout.as_nanos(), "a deadline shrank");
    }
}

/// Each line is one header, the first byte says which. What goes on names the trace that was read, in every form, and
/// `tracestate` goes on only as something that is passed on again unchanged.
pub fn trace_context(bytes: &[u8]) {
    const NAMES: [HeaderName; 7] = [
        HeaderName::from_static("traceparent"),
        HeaderName::from_static("tracestate"),
        HeaderName::from_static("b3"),
        HeaderName::from_static("x-b3-traceid"),
        HeaderName::from_static("x-b3-spanid"),
        HeaderName::from_static("x-b3-sampled"),
        HeaderName::from_static("x-b3-flags"),
    ];
    let mut headers = HeaderMap::new();
    for line in bytes.split(|byte| *byte == b'\n') {
        let Some((&first, value)) = line.split_first() else { continue };
        if let Ok(value) = HeaderValue::from_bytes(value) {
            headers.append(&NAMES[usize::from(first) % NAMES.len()], value);
        }
    }
    for form in [Propagation::W3c, Propagation::B3, Propagation::B3Multi] {
        let Found::Parent(parent) = Forms::new(&[form]).extract(&headers) else { continue };
        let mut next = headers.clone();
        let told = Context::of(parent);
        Forms::new(&[form]).inject(&told, &mut next);
        let Found::Parent(again) = Forms::new(&[form]).extract(&next) else { panic!("no context goes on") };
        assert_eq!((again.trace, again.span), (parent.trace, parent.span), "another trace goes on");
        assert_eq!(again.sampled, Some(told.sampled), "another decision goes on");
        let mut last = next.clone();
        Forms::new(&[form]).inject(&told, &mut last);
        assert_eq!(last, next, "not settled after one hop");
    }
}

/// A certificate that is believed to name somebody names one by every reading: the parser of chains finds the same URI, and no
/// other.
pub fn svid(bytes: &[u8]) {
    let Ok(svid) = Svid::parse(bytes) else { return };
    let id = svid.id().as_str();
    assert_eq!(SpiffeId::read(id).as_ref(), Ok(svid.id()));
    let certificate = CertificateDer::from(bytes);
    let certificate = webpki::EndEntityCert::try_from(&certificate).expect("it was read");
    assert!(certificate.valid_uri_names().eq([id]), "{id} is not the only name");
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    type Target = (&'static str, fn(&[u8]));

    /// Every file of every corpus holds, so a finding stays fixed.
    #[test]
    fn corpora_hold() {
        let targets: [Target; 8] = [
            ("client_hello", super::client_hello),
            ("detect", super::detect),
            ("sniff", super::sniff),
            ("header_watch", super::header_watch),
            ("path", super::path),
            ("grpc_timeout", super::grpc_timeout),
            ("trace_context", super::trace_context),
            ("svid", super::svid),
        ];
        for (name, target) in targets {
            let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus").join(name);
            let mut files = 0;
            for entry in fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
            {
                target(&fs::read(entry.unwrap().path()).unwrap());
                files += 1;
            }
            assert!(files >= 5, "{name} has a corpus of {files}");
        }
    }
}
