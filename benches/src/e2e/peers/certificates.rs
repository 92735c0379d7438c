//! Certificates of a pair: one authority, and an identity for each of the two processes. They are SVIDs, and each has a DNS
//! name too, for clients that know nothing else.

use std::path::Path;

use anyhow::Context;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType,
};

use super::write;

/// The DNS name of both.
pub(in crate::e2e) const NAME: &str = "bench.local";
/// Who calls.
pub(super) const CALLER: &str = "spiffe://cluster.local/ns/bench/sa/caller";
/// Who is called.
pub(super) const SERVICE: &str = "spiffe://cluster.local/ns/bench/sa/service";

/// PEM files.
pub(in crate::e2e) struct Certificates {
    pub(in crate::e2e) authority: String,
    pub(in crate::e2e) caller: Own,
    pub(in crate::e2e) service: Own,
}

/// The files of one process.
pub(in crate::e2e) struct Own {
    pub(in crate::e2e) certificate: String,
    pub(in crate::e2e) key: String,
    /// Both in one file.
    pub(super) both: String,
}

impl Certificates {
    /// Makes them in `dir`.
    pub(in crate::e2e) fn make(dir: &Path) -> anyhow::Result<Self> {
        let mut params = CertificateParams::new(Vec::new())?;
        // OpenSSL takes a certificate whose subject is its issuer's for a root.
        params.distinguished_name.push(DnType::CommonName, "bench authority");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate()?;
        let authority = params.self_signed(&key)?;
        let issuer = Issuer::new(params, key);
        Ok(Self {
            authority: write(dir, "authority.pem", &authority.pem())?,
            caller: own(dir, "caller", CALLER, &issuer)?,
            service: own(dir, "service", SERVICE, &issuer)?,
        })
    }
}

fn own(dir: &Path, name: &str, id: &str, issuer: &Issuer<'_, KeyPair>) -> anyhow::Result<Own> {
    let mut params = CertificateParams::new(vec![NAME.to_owned()])?;
    params.distinguished_name.push(DnType::CommonName, name);
    params.subject_alt_names.push(SanType::URI(id.try_into().context("a URI is ASCII")?));
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages =
        vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    let key = KeyPair::generate()?;
    let certificate = params.signed_by(&key, issuer)?.pem();
    let key = key.serialize_pem();
    Ok(Own {
        both: write(dir, &format!("{name}.pem"), &format!("{certificate}{key}"))?,
        certificate: write(dir, &format!("{name}.crt"), &certificate)?,
        key: write(dir, &format!("{name}.key"), &key)?,
    })
}
