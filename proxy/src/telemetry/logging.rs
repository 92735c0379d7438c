//! The proxy's own log, on standard error, and its level, which can be changed while the proxy runs.
//!
//! hyper and h2 never log below `warn`, whatever the level: on `debug` they would print every header of every request.

use std::io;

use tracing_subscriber::{
    EnvFilter, Registry, filter::ParseError, fmt, layer::SubscriberExt as _, reload,
    util::SubscriberInitExt as _,
};

/// What is always appended to the level.
const CAPS: &str = "hyper=warn,hyper_util=warn,h2=warn,hickory_resolver=warn,hickory_proto=warn,\
    hickory_net=warn,rustls=warn,notify=warn";
/// The level that a proxy starts with.
pub const DEFAULT_LEVEL: &str = "info";

/// How a log line looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// Why the log could not be set up or changed.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The level is none of `error`, `warn`, `info`, `debug`, `trace`, `off`, or `target=level` of these, by commas.
    #[error("`{level}` is not a log level: {source}")]
    Level {
        /// What was asked for.
        level: String,
        /// What is wrong with it.
        source: ParseError,
    },
    /// The process has a log already.
    #[error("the log was set up before")]
    SetUpBefore,
}

/// The log's level, for reading and changing it.
#[derive(Clone, Debug)]
pub struct LogLevel {
    filter: reload::Handle<EnvFilter, Registry>,
}

impl LogLevel {
    /// The level in use, without the caps on our libraries.
    pub fn get(&self) -> String {
        self.filter.with_current(shown).unwrap_or_default()
    }

    /// Changes the level from now on.
    ///
    /// # Errors
    /// If `level` is no level; the former one stays.
    pub fn set(&self, level: &str) -> Result<(), LogError> {
        self.filter.reload(filter(level)?).map_err(|_| LogError::SetUpBefore)
    }
}

/// Sets up the log of this process.
///
/// # Errors
/// If `level` is no level, or the process has a log already.
pub fn init(format: LogFormat, level: &str) -> Result<LogLevel, LogError> {
    let (filter, handle) = reload::Layer::new(filter(level)?);
    let registry = tracing_subscriber::registry().with(filter);
    let started = match format {
        LogFormat::Text => {
            let ansi = io::IsTerminal::is_terminal(&io::stderr());
            registry.with(fmt::layer().with_writer(io::stderr).with_ansi(ansi).with_target(false)).try_init()
        }
        LogFormat::Json => {
            registry.with(fmt::layer().json().flatten_event(true).with_writer(io::stderr)).try_init()
        }
    };
    started.map_err(|_| LogError::SetUpBefore)?;
    Ok(LogLevel { filter: handle })
}

fn filter(level: &str) -> Result<EnvFilter, LogError> {
    let level = level.trim();
    let error = |source| LogError::Level { level: level.to_owned(), source };
    if level.is_empty() || level.split(',').any(|part| part.trim().is_empty()) {
        // The filter would take nothing for "off".
        return EnvFilter::try_new("=").map_err(error);
    }
    // A bare word that is no level would be taken for the name of a target that is to be traced in full.
    if let Some(word) = level.split(',').find(|part| !part.contains('=') && !is_level(part)) {
        return EnvFilter::try_new(format!("log={word}")).map_err(error);
    }
    EnvFilter::try_new(format!("{level},{CAPS}")).map_err(error)
}

fn is_level(word: &str) -> bool {
    let levels = ["off", "error", "warn", "info", "debug", "trace"];
    levels.iter().any(|level| word.trim().eq_ignore_ascii_case(level))
}

/// What a filter says beyond the caps.
fn shown(filter: &EnvFilter) -> String {
    let text = filter.to_string();
    let own = text.split(',').filter(|part| !CAPS.split(',').any(|cap| cap == *part));
    own.collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_stay_quiet_whatever_is_asked() {
        for level in ["debug", "trace,h2=trace", "h2=debug"] {
            let text = filter(level).expect("a level").to_string();
            assert!(text.contains("h2=warn") && text.contains("hyper=warn"), "{level}: {text}");
            assert!(!text.contains("h2=trace") && !text.contains("h2=debug"), "{level}: {text}");
        }
    }

    #[test]
    fn what_is_no_level_is_refused() {
        for level in ["", "loud", "info,", "outrigger_proxy=loud", "="] {
            assert!(filter(level).is_err(), "{level}");
        }
    }

    #[test]
    fn the_level_can_be_read_and_changed() {
        let (layer, handle) = reload::Layer::new(filter("info").expect("a level"));
        let _subscriber = tracing_subscriber::registry().with(layer);
        let level = LogLevel { filter: handle };
        assert_eq!(level.get(), "info");
        level.set("outrigger_proxy=debug,warn").expect("a level");
        assert_eq!(level.get(), "outrigger_proxy=debug,warn");
        assert!(level.set("loud").is_err());
        assert_eq!(level.get(), "outrigger_proxy=debug,warn");
    }
}
