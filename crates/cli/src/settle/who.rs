//! Who runs this: for the history, and for locks.

use shipit_store::Holder;

use crate::context::Context;

/// `user@host`, and the Jenkins build when there is one.
pub fn who(context: &Context) -> String {
    let who = user_at_host(context);
    match context.environment.text("BUILD_URL") {
        Some(build) => format!("{who} ({build})"),
        None => who,
    }
}

/// Who takes a lock, and what for: `doing` as `kick web`. A lock of a person's (`shipit lock`) sets `manual` itself.
pub fn holder(context: &Context, doing: &str, revision: Option<&str>, reason: Option<&str>) -> Holder {
    Holder {
        id: Holder::new_id(),
        who: user_at_host(context),
        build: context.environment.text("BUILD_URL"),
        pid: Some(std::process::id()),
        doing: doing.to_owned(),
        revision: revision.map(str::to_owned),
        reason: reason.map(str::to_owned),
        time: jiff::Timestamp::now().as_second(),
        manual: false,
    }
}

fn user_at_host(context: &Context) -> String {
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
    format!("{user}@{host}")
}
