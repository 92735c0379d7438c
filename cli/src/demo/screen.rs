//! The terminal: the live view in place where there is one, keys as they are pressed, everything put back at the end.
//!
//! Where standard output is no terminal, there is no escape sequence in it.

use std::io::{self, IsTerminal, Read, Write};

use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

/// A screen of our own, no cursor on it.
const ENTER: &str = "\x1b[?1049h\x1b[?25l";
/// Back to what was there before.
const LEAVE: &str = "\x1b[?25h\x1b[?1049l";

/// A terminal that shows the live view. Dropping it puts the terminal back.
pub(super) struct Screen {
    before: Option<Termios>,
}

impl Screen {
    /// Takes the terminal over; `None` where standard output is none.
    pub(super) fn open() -> Option<Self> {
        if !io::stdout().is_terminal() {
            return None;
        }
        let before = tcgetattr(io::stdin()).ok();
        if let Some(before) = &before {
            let mut keys = before.clone();
            // Keys come one by one and are not shown; Ctrl-C stays a signal.
            keys.local_modes.remove(LocalModes::ICANON | LocalModes::ECHO);
            // A terminal that refuses this still shows the view.
            let _ = tcsetattr(io::stdin(), OptionalActions::Now, &keys);
        }
        put(ENTER);
        Some(Self { before })
    }

    /// Shows these lines instead of those before.
    pub(super) fn show(&self, lines: &[String]) {
        // No line end after the last line: on a terminal of just as many lines it would scroll.
        let text = format!("\x1b[H{}\x1b[K\x1b[J", lines.join("\x1b[K\r\n"));
        put(&text);
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        put(LEAVE);
        if let Some(before) = &self.before {
            // Nothing is left to do for a terminal that refuses its own settings.
            let _ = tcsetattr(io::stdin(), OptionalActions::Now, before);
        }
    }
}

/// The keys that are pressed from now on. The reading thread ends with the process.
pub(super) fn keys() -> UnboundedReceiver<u8> {
    let (send, keys) = unbounded_channel();
    if io::stdin().is_terminal() {
        std::thread::spawn(move || {
            let mut key = [0];
            while matches!(io::stdin().read(&mut key), Ok(1)) && send.send(key[0]).is_ok() {}
        });
    }
    keys
}

fn put(text: &str) {
    let mut out = io::stdout();
    // A terminal that is gone needs no picture.
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}
