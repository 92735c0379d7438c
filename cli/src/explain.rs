//! `outrigger explain`: what happens to one request or connection, and why, from policy files alone.

use std::{
    io::{self, IsTerminal, Write},
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    process::ExitCode,
};

use anyhow::{Result, bail};
use http::Version;
use outrigger_config::{
    CompileError, Policy, SourceFile, SpiffeId,
    model::{ObjectName, Resources},
};
use outrigger_proxy::{
    decide::Form,
    explain::{ConnectionQuestion, Door, Explainer, Question},
};
use serde::Serialize;

use crate::{exit, files, output::Output, proxy};

/// Explain what happens to one request or connection: the answer in one line, then why, with the places in the policy files.
///
/// It runs the code that a proxy runs, on the policy alone: nothing is sent and no name is looked up. Ends with 0 if the
/// request is let through, with 1 if the proxy would refuse it, or a share of such requests, and with 2 if the policy or the
/// command line cannot be used. Instead of METHOD and URL, tcp://HOST:PORT or tls://SERVER-NAME[:PORT] asks about a connection
/// that is passed on whole: by the listener that is pinned to that port of a Service, else by the one that goes by authority;
/// to an address, and to a Service with a cluster IP, as if it had been redirected to the proxy.
#[derive(Debug, clap::Args)]
#[command(override_usage = "outrigger explain [OPTIONS] -f <PATH>... <METHOD> <URL>\n       \
                      outrigger explain [OPTIONS] -f <PATH>... <tcp://HOST:PORT | tls://SERVER-NAME[:PORT]>")]
pub(crate) struct Explain {
    /// Policy files and folders; all of them are one policy.
    #[arg(short, long = "file", value_name = "PATH", required = true, num_args = 1..)]
    files: Vec<PathBuf>,
    /// The method and the URL, or the URL of a connection. Also after the files: the last words are not taken for files.
    #[arg(value_names = ["METHOD", "URL"], num_args = 0..=2)]
    request: Vec<String>,
    /// A header field, as curl has it; a Host replaces the one of the URL.
    #[arg(short = 'H', long = "header", value_name = "NAME: VALUE", value_parser = field)]
    headers: Vec<(String, String)>,
    /// Who calls. For what the app sends: the Sidecar with this identity is asked, where the files hold several.
    #[arg(long, value_name = "SPIFFE-ID", value_parser = SpiffeId::parse)]
    from: Option<SpiffeId>,
    /// Repeats the choices of one request: the number that the access log has as `dice` [default: show all shares].
    #[arg(long, value_name = "NUMBER", value_parser = dice)]
    dice: Option<u64>,
    /// Whose policy, where the files hold several Sidecars.
    #[arg(long, value_name = "NAMESPACE/NAME", value_parser = proxy::object_name)]
    sidecar: Option<ObjectName>,
    /// Any caller in this namespace, where the files have no Sidecar, as in a cluster.
    #[arg(long, value_name = "NAME", conflicts_with_all = ["sidecar", "inbound", "listener", "from"])]
    namespace: Option<String>,
    /// What comes to the app, by the first inbound listener.
    #[arg(long, conflicts_with = "listener")]
    inbound: bool,
    /// The listener by which it comes, by its bind address [default: the first outbound one that goes by authority; for a
    /// connection also one that is pinned to its Service].
    #[arg(long, value_name = "IP:PORT")]
    listener: Option<SocketAddr>,
    /// It comes by HTTP/1.0.
    #[arg(long = "http1.0", group = "version")]
    http10: bool,
    /// It comes by HTTP/1.1 [default, but for gRPC].
    #[arg(long, group = "version")]
    http1: bool,
    /// It comes by HTTP/2 [default for content-type application/grpc].
    #[arg(long, group = "version")]
    http2: bool,
    /// It comes as to an HTTP proxy: with the whole URL in its first line.
    #[arg(long, conflicts_with = "http2")]
    proxy_form: bool,
    /// The address that the app dialled, where traffic is redirected to the proxy.
    #[arg(long, value_name = "IP:PORT")]
    destination: Option<SocketAddr>,
    /// The caller's address.
    #[arg(long, value_name = "IP", default_value = "127.0.0.1")]
    peer: IpAddr,
    /// How the explanation is written.
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    output: Output,
}

/// What is asked about.
enum Asked {
    Request(Box<Question>),
    Connection(ConnectionQuestion),
}

impl Explain {
    /// Prints the explanation on standard output.
    ///
    /// # Errors
    /// When the policy cannot be used, or the question cannot be asked.
    pub(crate) fn run(mut self) -> Result<ExitCode> {
        let asked = self.asked()?;
        let policy = files::policy(&self.files, self.namespace.as_deref().map(caller))?;
        if let Some(namespace) = &self.namespace {
            self.sidecar = Some(ObjectName::new(&**namespace, CALLER));
        }
        let resources = self.resources(&policy)?;
        let explainer = Explainer::new(resources)?;
        let (text, refuses) = match asked {
            Asked::Request(question) => {
                let report = explainer.explain(&question)?;
                (self.written(&report, |color| report.to_text(color))?, report.refuses())
            }
            Asked::Connection(question) => {
                let report = explainer.explain_connection(&question)?;
                (self.written(&report, |color| report.to_text(color))?, report.refuses())
            }
        };
        // `explain | head` closes the pipe early; the exit code still tells.
        let _ = io::stdout().write_all(text.as_bytes());
        Ok(if refuses { exit::FINDINGS } else { exit::FINE })
    }

    /// What is asked about.
    fn asked(&mut self) -> Result<Asked> {
        let after = self.files.last().and_then(|path| path.to_str());
        let connection = self.request.iter().map(String::as_str).chain(after);
        let wanted = if connection.into_iter().any(ConnectionQuestion::is_asked_by) { 1 } else { 2 };
        let words = files::split_off(&mut self.files, std::mem::take(&mut self.request), wanted);
        match (self.files.is_empty(), &*words) {
            (false, [url]) => Ok(Asked::Connection(self.connection(url)?)),
            (false, [method, url]) => Ok(Asked::Request(Box::new(self.question(method, url)?))),
            _ => bail!(
                "policy files, METHOD and URL are needed, or tcp://HOST:PORT, or tls://SERVER-NAME: \
                 outrigger explain -f policy.yaml GET http://reviews/"
            ),
        }
    }

    fn connection(&self, url: &str) -> Result<ConnectionQuestion> {
        let http = self.http10 || self.http1 || self.http2 || self.proxy_form || !self.headers.is_empty();
        if http {
            bail!("a connection that is passed on whole has no header and no version of HTTP");
        }
        let mut question = ConnectionQuestion::new(url)?;
        question.door = match (self.listener, self.inbound) {
            (Some(bind), _) => Some(Door::At(bind)),
            (None, true) => Some(Door::Inbound),
            (None, false) => None,
        };
        question.original_destination = self.destination;
        question.peer = self.peer;
        question.from.clone_from(&self.from);
        question.dice = self.dice;
        Ok(question)
    }

    fn question(&self, method: &str, url: &str) -> Result<Question> {
        let mut question = Question::new(method, url)?;
        for (name, value) in &self.headers {
            question.header(name, value)?;
        }
        question.version = match (self.http10, self.http1, self.http2) {
            (true, _, _) => Some(Version::HTTP_10),
            (_, true, _) => Some(Version::HTTP_11),
            (_, _, true) => Some(Version::HTTP_2),
            _ => None,
        };
        question.form = if self.proxy_form { Form::Absolute } else { Form::Origin };
        question.door = match (self.listener, self.inbound) {
            (Some(bind), _) => Door::At(bind),
            (None, true) => Door::Inbound,
            (None, false) => Door::Outbound,
        };
        question.original_destination = self.destination;
        question.peer = self.peer;
        question.from.clone_from(&self.from);
        question.dice = self.dice;
        Ok(question)
    }

    /// What the Sidecar that is meant is told. An app's own calls come from the Sidecar with the identity of `--from`.
    fn resources(&self, policy: &Policy) -> Result<Resources> {
        let inbound = self.inbound || self.listener.is_some();
        match &self.from {
            Some(from) if !inbound => of_identity(policy, self.sidecar.as_ref(), from),
            _ => match policy.compile(self.sidecar.as_ref()) {
                Err(CompileError::NoSidecar) => {
                    bail!(
                        "the policy files hold no Sidecar; --namespace NAME asks for any caller in that namespace"
                    )
                }
                compiled => Ok(compiled?),
            },
        }
    }

    fn written(&self, report: &impl Serialize, to_text: impl FnOnce(bool) -> String) -> Result<String> {
        self.output.of(report, || {
            let color = io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
            to_text(color)
        })
    }
}

/// The only Sidecar whose proxy has this identity, of all or of the one that is named.
fn of_identity(policy: &Policy, sidecar: Option<&ObjectName>, id: &SpiffeId) -> Result<Resources> {
    let names = sidecar.map_or_else(|| policy.sidecars(), |name| vec![name.clone()]);
    let all = names.iter().map(|name| policy.compile(Some(name))).collect::<Result<Vec<_>, _>>()?;
    let identity = |resources: &Resources| {
        let workload = &resources.workload;
        SpiffeId::of_account(
            &resources.mesh.trust_domain,
            &workload.name.namespace,
            &workload.service_account,
        )
    };
    let present: Vec<String> =
        all.iter().map(|one| format!("{} ({})", one.workload.name, identity(one))).collect();
    let mut found: Vec<Resources> = all.into_iter().filter(|one| identity(one) == *id).collect();
    match found.len() {
        1 => Ok(found.remove(0)),
        0 => bail!("no Sidecar has the identity {id}; requests of an app come from {}", present.join(", ")),
        _ => bail!("several Sidecars have the identity {id}; choose one by --sidecar"),
    }
}

/// The name of the Sidecar that stands for any caller of a namespace.
pub(crate) const CALLER: &str = "any-caller";

/// A Sidecar for any caller of a namespace.
pub(crate) fn caller(namespace: &str) -> SourceFile {
    let text = format!(
        "apiVersion: outrigger.dev/v1alpha1\nkind: Sidecar\nmetadata: {{name: {CALLER}, namespace: \"{namespace}\"}}\n\
         spec: {{outbound: [{{bind: \"127.0.0.1:15001\"}}]}}\n"
    );
    SourceFile { path: "--namespace".to_owned(), text: text.into_bytes() }
}

fn field(text: &str) -> Result<(String, String), String> {
    match text.split_once(':') {
        Some((name, value)) if !name.trim().is_empty() => {
            Ok((name.trim().to_owned(), value.trim().to_owned()))
        }
        _ => Err("write 'NAME: VALUE', such as 'x-tester: yes'".to_owned()),
    }
}

fn dice(text: &str) -> Result<u64, String> {
    let number = match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16),
        None => text.parse(),
    };
    number.map_err(|_| {
        "a whole number below 2^64, or 0x and hexadecimal digits as the access log writes it".to_owned()
    })
}
