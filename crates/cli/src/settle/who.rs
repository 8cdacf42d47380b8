//! Who runs this: for the history.

use crate::context::Context;

/// `user@host`, and the Jenkins build when there is one.
pub fn who(context: &Context) -> String {
    let env = |name: &str| context.environment.text(name);
    let user = env("USER").or_else(|| env("LOGNAME")).unwrap_or_else(|| {
        let uid = rustix::process::geteuid().as_raw();
        if uid == 0 {
            "root".to_owned()
        } else {
            format!("uid {uid}")
        }
    });
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    match env("BUILD_URL") {
        Some(build) => format!("{user}@{host} ({build})"),
        None => format!("{user}@{host}"),
    }
}
