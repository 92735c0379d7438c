//! What Linux says about this process, read from `/proc` at each scrape.
//!
//! A field that cannot be read is left out: a scrape never fails because of it.

use std::{fs, sync::OnceLock};

/// One reading.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Process {
    pub(super) cpu_seconds: Option<f64>,
    pub(super) resident_bytes: Option<u64>,
    pub(super) threads: Option<u64>,
    pub(super) open_fds: Option<u64>,
    pub(super) max_fds: Option<u64>,
    pub(super) start_seconds: Option<f64>,
}

impl Process {
    /// Reads `/proc/self`.
    pub(super) fn read() -> Self {
        let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
        let mut process = Self::from_stat(&stat, boot_time());
        // The directory itself is open while it is counted.
        process.open_fds =
            fs::read_dir("/proc/self/fd").ok().map(|entries| (entries.count() as u64).saturating_sub(1));
        process.max_fds = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
        process
    }

    /// Reads a line in the form of proc(5), `/proc/pid/stat`.
    fn from_stat(stat: &str, boot_time: Option<u64>) -> Self {
        // The second field is the name in brackets, and may hold blanks and brackets itself.
        let Some((_, fields)) = stat.rsplit_once(')') else { return Self::default() };
        let fields: Vec<&str> = fields.split_ascii_whitespace().collect();
        // Numbers as in proc(5), where the state, here the first field, is 3.
        let field = |number: usize| fields.get(number - 3).and_then(|text| text.parse::<u64>().ok());
        let ticks = rustix::param::clock_ticks_per_second() as f64;
        let page = rustix::param::page_size() as u64;
        Self {
            cpu_seconds: field(14).zip(field(15)).map(|(user, system)| (user + system) as f64 / ticks),
            resident_bytes: field(24).map(|pages| pages * page),
            threads: field(20),
            start_seconds: field(22).zip(boot_time).map(|(start, boot)| boot as f64 + start as f64 / ticks),
            ..Self::default()
        }
    }
}

/// When the machine started, as Unix time.
fn boot_time() -> Option<u64> {
    static BOOT_TIME: OnceLock<Option<u64>> = OnceLock::new();
    *BOOT_TIME.get_or_init(|| {
        let stat = fs::read_to_string("/proc/stat").ok()?;
        stat.lines().find_map(|line| line.strip_prefix("btime ")?.trim().parse().ok())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_this_process() {
        let process = Process::read();
        assert!(process.resident_bytes.is_some_and(|bytes| bytes > 1 << 20));
        assert!(process.open_fds.is_some_and(|count| count >= 3));
        assert!(process.start_seconds.is_some_and(|start| start > 1.6e9));
        assert!(process.threads.is_some_and(|count| count >= 1));
    }

    #[test]
    fn a_name_with_brackets_does_not_shift_the_fields() {
        let mut fields = vec!["0"; 50];
        fields[14 - 3] = "100";
        fields[15 - 3] = "50";
        fields[24 - 3] = "2";
        let process = Process::from_stat(&format!("1 (a) b (c)) {}", fields.join(" ")), Some(1));
        assert_eq!(process.resident_bytes, Some(2 * rustix::param::page_size() as u64));
        assert!(process.cpu_seconds.is_some_and(|seconds| seconds > 0.0));
        assert_eq!(Process::from_stat("", Some(1)), Process::default());
    }
}
