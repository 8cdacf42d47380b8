//! Telling others how something ended: by a POST of JSON to a webhook, or by a command that reads the JSON.
//!
//! URLs and headers of webhooks are secrets: none stands in an error, and no redirect carries them elsewhere. Not here: whom
//! to tell, and what.

mod command;
mod error;
mod webhook;

pub use command::{NoticeCommand, run};
pub use error::Error;
pub use webhook::{Webhook, post};
