//! What a replay found, as text, as JSON and as a page.

mod html;
mod plots;
mod report;
pub(crate) mod text;

pub(crate) use html::page;
pub(crate) use report::{Report, Setting, rounded};
pub(crate) use text::text;
