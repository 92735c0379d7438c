//! From the files that policy names to a TLS client: certificates, keys and roots. Their contents are in no error and
//! no dump.

use std::{cell::OnceCell, io, path::Path, sync::Arc};

use outrigger_config::model::{ClientIdentity, FileRef, OutwardTls};
use rustls::{
    ClientConfig, RootCertStore,
    client::WantsClientCert,
    crypto::{CryptoProvider, aws_lc_rs},
    pki_types::ServerName,
};

use crate::pem::{Reader, Unusable};

/// The authorities that the system trusts, read when first needed.
#[derive(Debug, Default)]
pub(crate) struct SystemRoots(OnceCell<Arc<RootCertStore>>);

impl SystemRoots {
    /// Where the system keeps its roots, or `SSL_CERT_FILE` and `SSL_CERT_DIR` say it does. What cannot be read is left
    /// out: stores have always held certificates that one library or another does not take.
    fn get(&self) -> &Arc<RootCertStore> {
        self.0.get_or_init(|| {
            let mut roots = RootCertStore::empty();
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            Arc::new(roots)
        })
    }
}

/// The name to ask for, the client, and a number that differs when the files' contents do.
pub(super) fn client(
    source: &OutwardTls,
    read: impl Fn(&Path) -> io::Result<Vec<u8>>,
    roots: &SystemRoots,
) -> Result<(ServerName<'static>, ClientConfig, u64), Unusable> {
    let within = "spec.tls";
    let mut reader = Reader::new(within, read);
    let at = |message: String, help| Unusable {
        origin: source.origin.clone(),
        field: within.to_owned(),
        message,
        help,
    };
    let name = ServerName::try_from(source.server_name.to_string()).map_err(|_| {
        let message = format!("`{}` is no name that a certificate can be for", source.server_name);
        at(message, "set `serverName` to a DNS name or an IP address")
    })?;
    let trusted = match &source.trust_bundle {
        Some(file) => Arc::new(bundle(&mut reader, file)?),
        None => roots.get().clone(),
    };
    if trusted.is_empty() {
        let message = "this system trusts no authority, so no certificate can be checked".to_owned();
        let help = "install the system's roots (Debian: ca-certificates), or set `trustBundle`";
        return Err(at(message, help));
    }
    let wants_identity = builder().with_root_certificates(trusted);
    let config = match &source.identity {
        None => wants_identity.with_no_client_auth(),
        Some(identity) => self::identity(&mut reader, identity, wants_identity)?,
    };
    Ok((name, config, reader.signature()))
}

fn builder() -> rustls::ConfigBuilder<ClientConfig, rustls::WantsVerifier> {
    let provider: Arc<CryptoProvider> = Arc::new(aws_lc_rs::default_provider());
    ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(rustls::ALL_VERSIONS)
        .expect("the provider has cipher suites for TLS 1.2 and 1.3")
}

fn bundle<R: Fn(&Path) -> io::Result<Vec<u8>>>(
    reader: &mut Reader<R>,
    file: &FileRef,
) -> Result<RootCertStore, Unusable> {
    let field = "trustBundle";
    let mut roots = RootCertStore::empty();
    for (number, certificate) in (1..).zip(reader.certificates(field, file)?) {
        roots.add(certificate).map_err(|error| {
            let what = format!("certificate number {number} cannot be an authority: {error}");
            reader.unusable(field, file, &what, "put the certificates of the authorities there")
        })?;
    }
    Ok(roots)
}

fn identity<R: Fn(&Path) -> io::Result<Vec<u8>>>(
    reader: &mut Reader<R>,
    identity: &ClientIdentity,
    builder: rustls::ConfigBuilder<ClientConfig, WantsClientCert>,
) -> Result<ClientConfig, Unusable> {
    let chain = reader.certificates("certificate", &identity.certificate)?;
    let key = reader.key("privateKey", &identity.private_key)?;
    builder.with_client_auth_cert(chain, key).map_err(|error| {
        let (what, help) = match error {
            rustls::Error::InconsistentKeys(_) => (
                "the key is not that of the certificate".to_owned(),
                "put the certificate's own key there, and the certificate first in its file",
            ),
            error => (error.to_string(), "check both files"),
        };
        reader.unusable("privateKey", &identity.private_key, &what, help)
    })
}
