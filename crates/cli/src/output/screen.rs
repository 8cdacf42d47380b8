//! A terminal in memory, for tests of what bars show.

use std::io;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressDrawTarget, TermLike};

use super::{Inner, Output};
use crate::args::Format;

/// What stands on the terminal; of each line all that was written since it was cleared last.
#[derive(Debug, Clone, Default)]
pub(super) struct Screen {
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    lines: Vec<String>,
    row: usize,
}

impl Screen {
    pub(super) fn new() -> Self {
        Self::default()
    }

    /// An output whose bars are shown here.
    pub(super) fn output(&self) -> Output {
        let target = ProgressDrawTarget::term_like_with_hz(Box::new(self.clone()), 50);
        Output {
            inner: Arc::new(Inner {
                format: Format::Text,
                quiet: false,
                colors: false,
                bars: Some(MultiProgress::with_draw_target(target)),
                warned: Mutex::default(),
            }),
        }
    }

    /// All lines.
    pub(super) fn text(&self) -> String {
        self.state.lock().unwrap().lines.join("\n")
    }

    /// Waits until the text stands there.
    #[track_caller]
    pub(super) fn until(&self, text: &str) {
        let until = Instant::now() + Duration::from_secs(20);
        while !self.text().contains(text) {
            assert!(Instant::now() < until, "{text:?} is not in {:?}", self.text());
            thread::sleep(Duration::from_millis(10));
        }
    }

    fn edit(&self, edit: impl FnOnce(&mut State)) -> io::Result<()> {
        let mut state = self.state.lock().unwrap();
        edit(&mut state);
        let row = state.row;
        if state.lines.len() <= row {
            state.lines.resize(row + 1, String::new());
        }
        Ok(())
    }
}

impl TermLike for Screen {
    fn width(&self) -> u16 {
        120
    }

    fn height(&self) -> u16 {
        40
    }

    fn move_cursor_up(&self, n: usize) -> io::Result<()> {
        self.edit(|state| state.row = state.row.saturating_sub(n))
    }

    fn move_cursor_down(&self, n: usize) -> io::Result<()> {
        self.edit(|state| state.row += n)
    }

    fn move_cursor_right(&self, _: usize) -> io::Result<()> {
        Ok(())
    }

    fn move_cursor_left(&self, _: usize) -> io::Result<()> {
        Ok(())
    }

    fn write_line(&self, text: &str) -> io::Result<()> {
        self.write_str(text)?;
        self.edit(|state| state.row += 1)
    }

    fn write_str(&self, text: &str) -> io::Result<()> {
        self.edit(|state| {
            let row = state.row;
            if state.lines.len() <= row {
                state.lines.resize(row + 1, String::new());
            }
            state.lines[row].push_str(text);
        })
    }

    fn clear_line(&self) -> io::Result<()> {
        self.edit(|state| {
            let row = state.row;
            if let Some(line) = state.lines.get_mut(row) {
                line.clear();
            }
        })
    }

    fn flush(&self) -> io::Result<()> {
        Ok(())
    }
}
