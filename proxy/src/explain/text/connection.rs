//! The explanation of a connection as text.

use super::{super::report::ConnectionReport, Page};

impl ConnectionReport {
    /// The whole explanation for a terminal, with colours where it has them.
    pub fn to_text(&self, color: bool) -> String {
        let mut page = Page { out: String::new(), color };
        page.summary(&self.summary, self.refuses());
        page.connection(self);
        page.service(self.service.as_ref(), &self.resolution, self.connection.side);
        page.rules(&self.candidates, "the alert unrecognized_name");
        page.shares(&self.shares);
        if let Some(timeouts) = &self.timeouts {
            page.limits(&[("connect", &timeouts.connect), ("streamIdle", &timeouts.stream_idle)]);
        }
        page.section("note", &self.notes);
        page.out
    }
}

impl Page {
    fn connection(&mut self, report: &ConnectionReport) {
        let asked = &report.connection;
        let place = self.place(asked.listener.origin.as_ref());
        let spoken = match (&asked.server_name, asked.protocol) {
            (Some(name), _) => format!("TLS with the server name {name}"),
            (None, "TLS") => "TLS without a server name".to_owned(),
            (None, _) => "bytes that are neither HTTP nor TLS".to_owned(),
        };
        let read = if report.reads_hello { ", which is read" } else { "" };
        let mut lines = vec![
            format!("{}: {spoken}{read}", asked.url),
            format!("by {} {} of Sidecar {}{place}", asked.side, asked.listener.name, report.sidecar.name),
        ];
        lines.extend(asked.original_destination.iter().map(|address| format!("dialled {address}")));
        lines.extend(asked.from.iter().map(|from| format!("from {}: {}", from.spiffe_id, from.effect)));
        lines.extend(asked.dice.iter().map(|dice| format!("dice {dice}")));
        self.section("connection", &lines);
    }
}
