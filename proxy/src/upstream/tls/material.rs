//! From the files that policy names to a TLS client: certificates, keys and roots. Their contents are in no error and
//! no dump.

use std::{
    cell::OnceCell,
    hash::{DefaultHasher, Hasher as _},
    io,
    path::Path,
    sync::Arc,
};

use outrigger_config::model::{ClientIdentity, FileRef, Origin, OutwardTls};
use rustls::{
    ClientConfig, RootCertStore,
    client::WantsClientCert,
    crypto::{CryptoProvider, aws_lc_rs},
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject},
};

/// A file, or the lack of one, that makes TLS to a destination impossible.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Unusable {
    /// Where policy names it.
    pub(crate) origin: Origin,
    /// The field that names it.
    pub(crate) field: String,
    /// What is wrong, with the file's path.
    pub(crate) message: String,
    /// What helps.
    pub(crate) help: &'static str,
}

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
    let mut reader = Reader { read, contents: DefaultHasher::new() };
    let at = |field: &str, message: String, help| Unusable {
        origin: source.origin.clone(),
        field: field.to_owned(),
        message,
        help,
    };
    let name = ServerName::try_from(source.server_name.to_string()).map_err(|_| {
        let message = format!("`{}` is no name that a certificate can be for", source.server_name);
        at("spec.tls", message, "set `serverName` to a DNS name or an IP address")
    })?;
    let trusted = match &source.trust_bundle {
        Some(file) => Arc::new(reader.bundle(file)?),
        None => roots.get().clone(),
    };
    if trusted.is_empty() {
        let message = "this system trusts no authority, so no certificate can be checked".to_owned();
        let help = "install the system's roots (Debian: ca-certificates), or set `trustBundle`";
        return Err(at("spec.tls", message, help));
    }
    let wants_identity = builder().with_root_certificates(trusted);
    let config = match &source.identity {
        None => wants_identity.with_no_client_auth(),
        Some(identity) => reader.identity(identity, wants_identity)?,
    };
    Ok((name, config, reader.contents.finish()))
}

fn builder() -> rustls::ConfigBuilder<ClientConfig, rustls::WantsVerifier> {
    let provider: Arc<CryptoProvider> = Arc::new(aws_lc_rs::default_provider());
    ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(rustls::ALL_VERSIONS)
        .expect("the provider has cipher suites for TLS 1.2 and 1.3")
}

/// Reads files and follows what they hold.
struct Reader<R> {
    read: R,
    contents: DefaultHasher,
}

impl<R: Fn(&Path) -> io::Result<Vec<u8>>> Reader<R> {
    fn bytes(&mut self, field: &'static str, file: &FileRef) -> Result<Vec<u8>, Unusable> {
        let path = file.located();
        let bytes = (self.read)(&path).map_err(|error| {
            let help = match error.kind() {
                io::ErrorKind::NotFound => "a relative path is taken from the folder of the policy file",
                io::ErrorKind::PermissionDenied => "let the proxy's user read it",
                _ => "check the file",
            };
            unusable(field, file, &error.to_string(), help)
        })?;
        self.contents.write(&bytes);
        self.contents.write_usize(bytes.len());
        Ok(bytes)
    }

    fn certificates(
        &mut self,
        field: &'static str,
        file: &FileRef,
    ) -> Result<Vec<CertificateDer<'static>>, Unusable> {
        let bytes = self.bytes(field, file)?;
        let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
        let help = "PEM: blocks that begin with `-----BEGIN CERTIFICATE-----`";
        match read {
            Ok(certificates) if certificates.is_empty() => {
                Err(unusable(field, file, "the file holds no certificate", help))
            }
            Ok(certificates) => Ok(certificates),
            Err(error) => Err(unusable(field, file, &error.to_string(), help)),
        }
    }

    fn bundle(&mut self, file: &FileRef) -> Result<RootCertStore, Unusable> {
        let field = "trustBundle";
        let mut roots = RootCertStore::empty();
        for (number, certificate) in (1..).zip(self.certificates(field, file)?) {
            roots.add(certificate).map_err(|error| {
                let what = format!("certificate number {number} cannot be an authority: {error}");
                unusable(field, file, &what, "put the certificates of the authorities there")
            })?;
        }
        Ok(roots)
    }

    fn identity(
        &mut self,
        identity: &ClientIdentity,
        builder: rustls::ConfigBuilder<ClientConfig, WantsClientCert>,
    ) -> Result<ClientConfig, Unusable> {
        let chain = self.certificates("certificate", &identity.certificate)?;
        let key = self.bytes("privateKey", &identity.private_key)?;
        let key = PrivateKeyDer::from_pem_slice(&key).map_err(|_| {
            let help = "PEM, not encrypted: a block that begins with `-----BEGIN PRIVATE KEY-----`";
            unusable("privateKey", &identity.private_key, "the file holds no private key", help)
        })?;
        builder.with_client_auth_cert(chain, key).map_err(|error| {
            let (what, help) = match error {
                rustls::Error::InconsistentKeys(_) => (
                    "the key is not that of the certificate".to_owned(),
                    "put the certificate's own key there, and the certificate first in its file",
                ),
                error => (error.to_string(), "check both files"),
            };
            unusable("privateKey", &identity.private_key, &what, help)
        })
    }
}

fn unusable(field: &'static str, file: &FileRef, what: &str, help: &'static str) -> Unusable {
    Unusable {
        origin: file.origin.clone(),
        field: format!("spec.tls.{field}"),
        message: format!("{}: {what}", file.located().display()),
        help,
    }
}
