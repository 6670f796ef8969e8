//! What a replay found, as text, as JSON and as a page.

mod html;
mod plots;
mod report;
mod text;

pub(crate) use html::page;
pub(crate) use report::Report;
pub(crate) use text::text;
