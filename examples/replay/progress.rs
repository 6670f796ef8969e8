//! The progress bar, for people who wait.

use std::io::IsTerminal;

use indicatif::{HumanCount, ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Shows how far a replay is; shows nothing where nobody watches.
pub(crate) struct Progress(ProgressBar);

impl Progress {
    pub(crate) fn new(requests: u64) -> Self {
        let watched = std::io::stderr().is_terminal() && std::env::var_os("CI").is_none();
        let target = if watched { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let template = "{bar:20} {percent:>3} % of {human_len} requests, {per_sec}, {msg}";
        let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
        Self(ProgressBar::with_draw_target(Some(requests), target).with_style(style))
    }

    /// So many requests have arrived, are under way, and hold a slot.
    pub(crate) fn show(&self, arrived: u64, under_way: u64, held: u64) {
        if !self.0.is_hidden() {
            self.0.set_position(arrived);
            let waiting = under_way.saturating_sub(held);
            self.0.set_message(format!("{} slots held, {} waiting", HumanCount(held), HumanCount(waiting)));
        }
    }

    pub(crate) fn clear(&self) {
        self.0.finish_and_clear();
    }
}
