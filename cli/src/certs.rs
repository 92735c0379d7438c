//! `outrigger certs`: who a running proxy is to other sidecars, until when, and whom it believes.

use std::{
    fmt::Write as _,
    io::{self, Write as _},
    process::ExitCode,
};

use anyhow::Result;
use outrigger_proxy::admin::certs::{CertsView, IdentityView};

use crate::{admin::Admin, exit, output::Output};

/// Show a running proxy's certificate and the authorities that it believes, through its admin API.
///
/// Ends with 0, with 1 if the certificate has expired or what should follow it was rejected, and with 2 if no proxy answers.
#[derive(Debug, clap::Args)]
pub(crate) struct Certs {
    #[command(flatten)]
    admin: Admin,
    /// How it is written.
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    output: Output,
}

impl Certs {
    /// Prints it on standard output.
    ///
    /// # Errors
    /// When no proxy answers.
    pub(crate) fn run(self) -> Result<ExitCode> {
        let certs: CertsView = self.admin.get("/certs")?;
        let text = self.output.of(&certs, || table(&certs))?;
        // `certs | head` closes the pipe early; the exit code still tells.
        let _ = io::stdout().write_all(text.as_bytes());
        let is_well =
            |identity: &IdentityView| identity.certificate.seconds_left >= 0 && identity.rejected.is_none();
        Ok(if certs.identity.as_ref().is_none_or(is_well) { exit::FINE } else { exit::FINDINGS })
    }
}

fn table(certs: &CertsView) -> String {
    let Some(identity) = &certs.identity else {
        return "this proxy has no identity: it speaks no mutual TLS\n".to_owned();
    };
    let (certificate, files) = (&identity.certificate, &identity.files);
    let mut rows = vec![
        ("identity", identity.id.clone()),
        ("trust domain", identity.trust_domain.clone()),
        ("serial", certificate.serial.clone()),
        ("sha256", certificate.sha256.clone()),
        ("valid from", certificate.not_before.clone()),
        ("valid until", format!("{} ({})", certificate.not_after, left(certificate.seconds_left))),
        ("certificate", files.certificate.clone()),
        ("private key", files.private_key.clone()),
        ("trust bundle", files.trust_bundle.clone()),
    ];
    rows.extend(identity.authorities.iter().map(|authority| {
        let said =
            format!("{}, serial {}, until {}", authority.subject, authority.serial, authority.not_after);
        ("authority", said)
    }));
    if let Some(rejected) = &identity.rejected {
        rows.push(("REJECTED", format!("{} {}", rejected.time, rejected.text)));
    }
    let mut text = String::new();
    for (name, value) in rows {
        let _ = writeln!(text, "{name:<13} {value}");
    }
    text
}

/// What is left, in its two greatest units.
fn left(seconds: i64) -> String {
    if seconds < 0 {
        return "EXPIRED".to_owned();
    }
    let units = [("d", 86_400), ("h", 3600), ("min", 60), ("s", 1)];
    let first = units.iter().position(|(_, size)| seconds >= *size).unwrap_or(units.len() - 1);
    let mut rest = seconds;
    let mut parts = Vec::new();
    for (unit, size) in units.iter().skip(first).take(2) {
        parts.push(format!("{} {unit}", rest / size));
        rest %= size;
    }
    format!("{} left", parts.join(" "))
}

#[cfg(test)]
mod tests {
    use outrigger_proxy::admin::certs::{AuthorityView, CertificateView, FilesView, RejectedView};

    use super::*;

    #[test]
    fn times_have_two_units() {
        for (seconds, text) in [
            (-1, "EXPIRED"),
            (0, "0 s left"),
            (59, "59 s left"),
            (61, "1 min 1 s left"),
            (86_399, "23 h 59 min left"),
            (90_000, "1 d 1 h left"),
        ] {
            assert_eq!(left(seconds), text);
        }
    }

    #[test]
    fn people_are_told_everything() {
        let text = |text: &str| text.to_owned();
        let identity = IdentityView {
            id: text("spiffe://mesh.test/ns/shop/sa/cart"),
            trust_domain: text("mesh.test"),
            certificate: CertificateView {
                serial: text("4f"),
                sha256: text("00ff"),
                not_before: text("2026-01-01T00:00:00.000Z"),
                not_after: text("2026-01-02T00:00:00.000Z"),
                seconds_left: 3600,
            },
            authorities: vec![AuthorityView {
                subject: text("CN=root"),
                serial: text("1"),
                not_before: text("2026-01-01T00:00:00.000Z"),
                not_after: text("2027-01-01T00:00:00.000Z"),
            }],
            files: FilesView {
                certificate: text("/certs/tls.crt"),
                private_key: text("/certs/tls.key"),
                trust_bundle: text("/certs/ca.crt"),
            },
            rejected: Some(RejectedView { time: text("2026-01-01T23:00:00.000Z"), text: text("no") }),
        };
        let shown = table(&CertsView { identity: Some(identity) });
        let expected = "\
identity      spiffe://mesh.test/ns/shop/sa/cart
trust domain  mesh.test
serial        4f
sha256        00ff
valid from    2026-01-01T00:00:00.000Z
valid until   2026-01-02T00:00:00.000Z (1 h 0 min left)
certificate   /certs/tls.crt
private key   /certs/tls.key
trust bundle  /certs/ca.crt
authority     CN=root, serial 1, until 2027-01-01T00:00:00.000Z
REJECTED      2026-01-01T23:00:00.000Z no
";
        assert_eq!(shown, expected);
    }
}
