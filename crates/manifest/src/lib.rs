//! The manifest that stretcher and `shipit apply` follow: its model, its templates, its checks.
//!
//! A manifest's way: [`render`] makes the text from a template and a [`RenderInput`], reads it back and checks it;
//! a host evaluates what is left for it ([`host_template`]) and reads the text ([`parse`]).
//!
//! Not here: any I/O. Templates and manifests are handed in as text, the host's environment as a function; where
//! manifests are stored is shipit-store's business, and following one is shipit-host's.

#![forbid(unsafe_code)]

mod check;
mod error;
mod go_template;
mod input;
mod model;
mod parse;
mod quote;
mod render;

pub use check::{Problem, check};
pub use error::{Error, ErrorKind};
pub use go_template::host_template;
pub use input::{Hooks, RenderInput, ReportInput, ReportWith};
pub use model::{Binding, Commands, Layout, Link, Manifest, is_report_command};
pub use parse::parse;
pub use quote::{sh, yaml};
pub use render::{Template, default_template, is_once_role, once_role, render, render_once};

#[cfg(test)]
mod roundtrip;
