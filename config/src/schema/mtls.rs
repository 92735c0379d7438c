//! Mutual TLS between sidecars: who a Sidecar is, and where a Mesh wants it to be spoken.

use crate::convert::{FilePath, Label, List, Port, Spanned, Strict, choice, object};

object! {
    /// Where the proxy's certificate, its key and the authorities that it believes come from.
    pub(crate) struct IdentityBody {
        /// From files that somebody else writes anew before they expire. They are read when the proxy starts and again
        /// whenever they change, apart from policy.
        files("files"): Option<IdentityFilesBody>,
    }
    exactly_one ["files"]
}

object! {
    /// The files of an identity, all PEM. A relative path is taken from the folder of this policy file.
    pub(crate) struct IdentityFilesBody {
        /// The proxy's certificate, an X.509-SVID, and those between it and the root. Its SPIFFE ID is one of the mesh's trust
        /// domain.
        certificate("certificate"): Spanned<FilePath>,
        /// The private key of `certificate`, not encrypted.
        private_key("privateKey"): Spanned<FilePath>,
        /// The certificates of the trust domain's authorities: whoever they issued an SVID to is believed.
        trust_bundle("trustBundle"): Spanned<FilePath>,
    }
}

object! {
    /// Where mutual TLS is spoken between Sidecars that have an identity.
    pub(crate) struct MtlsBody {
        /// At ports that `ports` does not list.
        mode("mode"): Strict<Spanned<MtlsMode>> = MtlsMode::Permissive.word(),
        /// Single ports of Services, each once (OR126).
        ports("ports"): List<MtlsPort>,
    }
}

object! {
    /// The mode of one port. A subset of a MeshService has that of the same port of the MeshService that has its endpoints.
    pub(crate) struct MtlsPort {
        /// The Service.
        service("service"): MtlsService,
        /// Its port, by number.
        port("port"): Spanned<Port>,
        /// Its mode.
        mode("mode"): Spanned<MtlsMode>,
    }
}

object! {
    /// A v1 Service or a MeshService; not a subset (OR142).
    pub(crate) struct MtlsService {
        /// Its name.
        name("name"): Spanned<Label>,
        /// Its namespace; that of the Mesh unless set, which is `default` unless the Mesh names one.
        namespace("namespace"): Option<Label>,
    }
}

choice! {
    /// Whether mutual TLS is spoken.
    pub(crate) enum MtlsMode {
        /// Callers speak mutual TLS where they have an identity and the endpoint has one. Others are taken too, as anonymous.
        Permissive = "Permissive",
        /// As Permissive, and who does not speak mutual TLS is refused: plaintext HTTP is answered 401 `no_identity`, anything
        /// else is reset. A Sidecar that serves such a port must have an `identity` (OR172).
        Strict = "Strict",
        /// Callers speak plaintext.
        Disabled = "Disabled",
    }
}
