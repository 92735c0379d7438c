//! Real handshakes in memory: who is believed, and by which word everybody else is refused, on both sides.

pub(super) mod forge;

use std::{sync::Arc, time::SystemTime};

use outrigger_config::SpiffeId;
use rcgen::{
    CertificateParams, CustomExtension, ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose,
    date_time_ymd,
};
use rustls::{ClientConfig, HandshakeKind, NamedGroup, PeerIncompatible, version::TLS12};

use self::forge::{Authority, Blind, Outcome, blind_client, blind_server, leaf, material, shake};
use super::*;

const WEB: &str = "spiffe://mesh.test/ns/shop/sa/web";
const CART: &str = "spiffe://mesh.test/ns/shop/sa/cart";

fn id(text: &str) -> SpiffeId {
    SpiffeId::parse(text).unwrap()
}

fn terms(expected: Option<&str>) -> Terms {
    Terms { trust_domain: "mesh.test".into(), expected: expected.map(id) }
}

fn credentials(authority: &Authority, who: &str) -> Credentials {
    Credentials::check(material(authority, leaf(&[who])), &terms(Some(who)), SystemTime::now()).unwrap()
}

/// What the callee says of a caller who shows this certificate.
fn refused_by_callee(
    authority: &Authority,
    signer: &Authority,
    shown: CertificateParams,
) -> Option<PeerFault> {
    let callee = credentials(authority, CART);
    let Outcome { server, .. } = shake(blind_client(signer, shown), callee.server().unwrap());
    PeerFault::of_tls(&server.err()?)
}

/// What a caller of `CART` says of a callee who shows this certificate.
fn refused_by_caller(
    authority: &Authority,
    signer: &Authority,
    shown: CertificateParams,
) -> Option<PeerFault> {
    let caller = credentials(authority, WEB);
    let client = caller.client(MeshProtocol::Http2, &id(CART)).unwrap();
    let Outcome { client, .. } = shake(client, blind_server(signer, shown));
    PeerFault::of_tls(&client.err()?)
}

#[test]
fn two_sidecars_know_each_other() {
    let authority = Authority::new("root");
    let (web, cart) = (credentials(&authority, WEB), credentials(&authority, CART));
    assert!(0 < web.generation() && web.generation() < cart.generation());
    for protocol in MeshProtocol::ALL {
        let client = web.client(protocol, &id(CART)).unwrap();
        let done = shake(client, cart.server().unwrap());
        let (client, server) = (done.client.unwrap(), done.server.unwrap());
        for side in [&*client as &rustls::CommonState, &*server] {
            assert_eq!(side.alpn_protocol().and_then(MeshProtocol::of_alpn), Some(protocol));
            assert_eq!(side.protocol_version(), Some(rustls::ProtocolVersion::TLSv1_3));
            let exchange = side.negotiated_key_exchange_group().unwrap().name();
            assert_eq!(exchange, NamedGroup::X25519MLKEM768, "nothing weaker while both can");
        }
        let peer = Peer::of(&server, cart.svid()).unwrap();
        let web = web.svid();
        assert_eq!(peer.id(), web.id());
        assert_eq!(peer.xfcc().to_str().unwrap(), format!("By={CART};Hash={};URI={WEB}", web.sha256()));
        assert_eq!(web.sha256().to_string().len(), 64);
    }
}

#[test]
fn everybody_else_is_refused_by_name_on_both_sides() {
    let (authority, other) = (Authority::new("root"), Authority::new("another root"));
    let namesake = Authority::new("root");
    let with = |change: fn(&mut CertificateParams)| {
        let mut params = leaf(&[CART]);
        change(&mut params);
        params
    };
    let long = format!("spiffe://mesh.test/{}", "a".repeat(2048));
    let cases = [
        ("no URI", &authority, leaf(&[]), PeerFault::NoUri),
        ("two URIs", &authority, leaf(&[CART, WEB]), PeerFault::SeveralUris),
        ("the same URI twice", &authority, leaf(&[CART, CART]), PeerFault::SeveralUris),
        (
            "a URI that is no text",
            &authority,
            forge::names(&[(6, CART.as_bytes()), (6, b"\xff")]),
            PeerFault::SeveralUris,
        ),
        (
            "a host that is no text",
            &authority,
            forge::names(&[(6, CART.as_bytes()), (2, b"\xff")]),
            PeerFault::MalformedName,
        ),
        ("a URI in parts", &authority, forge::names(&[(0x26, CART.as_bytes())]), PeerFault::MalformedName),
        (
            "names that are no list",
            &authority,
            forge::raw_names(b"\x30\x05\x86\x01"),
            PeerFault::MalformedName,
        ),
        ("another scheme", &authority, leaf(&["https://mesh.test/ns/shop/sa/cart"]), PeerFault::NotSpiffe),
        (
            "scheme in capitals",
            &authority,
            leaf(&["SPIFFE://mesh.test/ns/shop/sa/cart"]),
            PeerFault::NotSpiffe,
        ),
        (
            "an escaped path",
            &authority,
            leaf(&["spiffe://mesh.test/ns/shop/sa/c%61rt"]),
            PeerFault::PathNotAllowed,
        ),
        (
            "a climbing path",
            &authority,
            leaf(&["spiffe://mesh.test/ns/../sa/cart"]),
            PeerFault::PathNotAllowed,
        ),
        ("no path", &authority, leaf(&["spiffe://mesh.test"]), PeerFault::PathNotAllowed),
        (
            "a domain in capitals",
            &authority,
            leaf(&["spiffe://Mesh.test/ns/shop/sa/cart"]),
            PeerFault::MalformedTrustDomain,
        ),
        (
            "a domain with a port",
            &authority,
            leaf(&["spiffe://mesh.test:1/ns/shop"]),
            PeerFault::MalformedTrustDomain,
        ),
        ("too long", &authority, leaf(&[&long]), PeerFault::IdTooLong),
        (
            "another domain",
            &authority,
            leaf(&["spiffe://mesh.test.evil/ns/shop/sa/cart"]),
            PeerFault::WrongTrustDomain,
        ),
        ("another authority", &other, leaf(&[CART]), PeerFault::UnknownAuthority),
        ("an authority of the same name", &namesake, leaf(&[CART]), PeerFault::UnknownAuthority),
        (
            "an authority itself",
            &authority,
            with(|leaf| leaf.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained)),
            PeerFault::LeafIsCa,
        ),
        ("expired", &authority, with(|leaf| leaf.not_after = date_time_ymd(2020, 1, 2)), PeerFault::Expired),
        (
            "not valid yet",
            &authority,
            with(|leaf| leaf.not_before = date_time_ymd(2999, 1, 1)),
            PeerFault::NotYetValid,
        ),
        (
            "for servers alone",
            &authority,
            with(|leaf| leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth]),
            PeerFault::WrongExtendedKeyUsage,
        ),
        (
            "for clients alone",
            &authority,
            with(|leaf| leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth]),
            PeerFault::WrongExtendedKeyUsage,
        ),
        (
            "for any use",
            &authority,
            with(|leaf| leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::Any]),
            PeerFault::WrongExtendedKeyUsage,
        ),
        (
            "no signatures",
            &authority,
            with(|leaf| leaf.key_usages = vec![KeyUsagePurpose::KeyEncipherment]),
            PeerFault::WrongKeyUsage,
        ),
        ("no key usage", &authority, with(|leaf| leaf.key_usages.clear()), PeerFault::WrongKeyUsage),
        (
            "signs certificates",
            &authority,
            with(|leaf| leaf.key_usages.push(KeyUsagePurpose::KeyCertSign)),
            PeerFault::WrongKeyUsage,
        ),
        (
            "signs revocations",
            &authority,
            with(|leaf| leaf.key_usages.push(KeyUsagePurpose::CrlSign)),
            PeerFault::WrongKeyUsage,
        ),
        (
            "an unknown rule that must be known",
            &authority,
            with(|leaf| {
                let mut rule = CustomExtension::from_oid_content(&[1, 2, 3, 4], vec![5, 0]);
                rule.set_criticality(true);
                leaf.custom_extensions.push(rule);
            }),
            PeerFault::BadChain,
        ),
    ];
    for (what, signer, shown, fault) in cases {
        assert_eq!(refused_by_callee(&authority, signer, shown.clone()), Some(fault), "caller: {what}");
        assert_eq!(refused_by_caller(&authority, signer, shown), Some(fault), "callee: {what}");
    }
    let kind = |leaf: &mut CertificateParams| leaf.extended_key_usages.clear();
    for shown in [leaf(&[CART]), with(kind)] {
        assert_eq!(refused_by_callee(&authority, &authority, shown.clone()), None);
        assert_eq!(refused_by_caller(&authority, &authority, shown), None);
    }
}

#[test]
fn a_callee_is_the_one_that_was_called() {
    let authority = Authority::new("root");
    let near = "spiffe://mesh.test/ns/shop/sa/cart2";
    assert_eq!(refused_by_caller(&authority, &authority, leaf(&[near])), Some(PeerFault::IdentityMismatch));
    assert_eq!(refused_by_callee(&authority, &authority, leaf(&[near])), None);
}

#[test]
fn the_key_must_be_the_certificates_own_and_a_caller_must_show_one() {
    let authority = Authority::new("root");
    let (web, cart) = (credentials(&authority, WEB), credentials(&authority, CART));
    let stolen = forge::stolen(&authority, leaf(&[CART]));
    let client = shake(forge::blind_client_with(stolen.clone()), cart.server().unwrap());
    assert_eq!(PeerFault::of_tls(&client.server.unwrap_err()), Some(PeerFault::BadSignature));
    let server = shake(web.client(MeshProtocol::Tcp, &id(CART)).unwrap(), forge::blind_server_with(stolen));
    assert_eq!(PeerFault::of_tls(&server.client.unwrap_err()), Some(PeerFault::BadSignature));
    let mut nobody = ClientConfig::builder()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Blind))
        .with_no_client_auth();
    nobody.alpn_protocols = vec![MeshProtocol::Http2.alpn().to_vec()];
    let nobody = shake(Arc::new(nobody), cart.server().unwrap());
    assert_eq!(PeerFault::of_tls(&nobody.server.unwrap_err()), Some(PeerFault::NoCertificate));
}

#[test]
fn an_empty_bundle_trusts_nobody() {
    let authority = Authority::new("root");
    let mut material = material(&authority, leaf(&[WEB]));
    material.bundle.clear();
    let fault = Credentials::check(material, &terms(None), SystemTime::now()).unwrap_err();
    assert_eq!(fault, Unfit::Certificate(PeerFault::UnknownAuthority));
}

#[test]
fn nothing_is_resumed_and_nothing_older_is_spoken() {
    let authority = Authority::new("root");
    let (web, cart) = (credentials(&authority, WEB), credentials(&authority, CART));
    let ours = web.client(MeshProtocol::Http2, &id(CART)).unwrap();
    let eager = blind_client(&authority, leaf(&[WEB]));
    let foreign = blind_server(&authority, leaf(&[CART]));
    for (client, server) in [
        (ours.clone(), cart.server().unwrap()),
        // Peers that would resume if they were let.
        (eager, cart.server().unwrap()),
        (ours, foreign),
    ] {
        for _ in 0..2 {
            let done = shake(client.clone(), server.clone());
            let (client, server) = (done.client.unwrap(), done.server.unwrap());
            assert_eq!(client.handshake_kind(), Some(HandshakeKind::Full));
            assert_eq!(server.handshake_kind(), Some(HandshakeKind::Full));
        }
    }
    let older = ClientConfig::builder_with_protocol_versions(&[&TLS12])
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Blind))
        .with_no_client_auth();
    let Outcome { server, .. } = shake(Arc::new(older), cart.server().unwrap());
    assert_eq!(server.unwrap_err(), PeerIncompatible::Tls12NotOfferedOrEnabled.into());
}

#[test]
fn material_that_does_not_fit_together_is_no_credentials() {
    let authority = Authority::new("root");
    let check =
        |material, expected| Credentials::check(material, &terms(expected), SystemTime::now()).map(|_| ());
    assert_eq!(check(material(&authority, leaf(&[WEB])), None), Ok(()));
    assert_eq!(
        check(material(&authority, leaf(&[WEB])), Some(CART)),
        Err(Unfit::Identity { is: id(WEB), expected: id(CART) })
    );
    let mut other_key = material(&authority, leaf(&[WEB]));
    other_key.key = KeyPair::generate().unwrap().serialize_der().try_into().unwrap();
    assert_eq!(check(other_key, None), Err(Unfit::KeyMismatch));
    let mut no_authority = material(&authority, leaf(&[WEB]));
    no_authority.bundle.push(vec![1, 2, 3].into());
    assert!(matches!(check(no_authority, None), Err(Unfit::Authority { number: 2, .. })));
    let mut expired = leaf(&[WEB]);
    expired.not_after = date_time_ymd(2020, 1, 2);
    assert_eq!(check(material(&authority, expired), None), Err(Unfit::Certificate(PeerFault::Expired)));
}

#[test]
fn an_own_certificate_that_has_expired_makes_no_handshake() {
    let authority = Authority::new("root");
    let mut shown = leaf(&[WEB]);
    shown.not_after = date_time_ymd(2020, 1, 2);
    let then = SystemTime::from(date_time_ymd(2020, 1, 1));
    let past = Credentials::check(material(&authority, shown), &terms(None), then).unwrap();
    let fault = past.client(MeshProtocol::Http2, &id(CART)).unwrap_err();
    assert_eq!(fault.as_str(), "own_certificate_expired");
    assert_eq!(past.server().unwrap_err(), fault);
}

#[test]
fn no_key_shows_in_a_dump() {
    let authority = Authority::new("root");
    let material = material(&authority, leaf(&[WEB]));
    let secret = material.key.secret_der().to_vec();
    let credentials = Credentials::check(material, &terms(None), SystemTime::now()).unwrap();
    let shown = format!("{credentials:?} {:?}", credentials.server().unwrap());
    assert!(
        shown.contains("shop/sa/web")
            && !shown.contains(&format!("{:?}", &secret[..8]).replace(['[', ']'], ""))
    );
}

/// Every bit of a good certificate turned over, and every beginning of it: refused, or read as everybody else reads it.
#[test]
fn a_certificate_that_was_tampered_with_is_read_by_all_alike() {
    let authority = Authority::new("root");
    let shapes = [leaf(&[CART]), forge::names(&[(6, CART.as_bytes()), (2, b"cart"), (6, WEB.as_bytes())])];
    for (number, shape) in shapes.iter().enumerate() {
        let certificate = authority.sign(shape).0.to_vec();
        for bit in 0..certificate.len() * 8 {
            let mut turned = certificate.clone();
            turned[bit / 8] ^= 1 << (bit % 8);
            crate::fuzzing::svid(&turned);
        }
        for end in 0..certificate.len() {
            assert_eq!(
                Svid::parse(&certificate[..end]),
                Err(PeerFault::MalformedCertificate),
                "{number} {end}"
            );
        }
    }
}
