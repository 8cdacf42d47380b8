//! The way on while Consul cannot be reached: the same command without it.

use shipit_fleet::consul::Error;

use crate::args::Command;
use crate::context::Context;
use crate::errors::CliError;

/// With that hint, of an error that says that Consul is away, of a command that can do without it. Not when hosts may have been told
/// before: those are still at it, and the lock in Consul would be passed by. Nor is a kick to be run past a cluster that elects a
/// leader.
pub fn hinted(error: CliError, command: &Command, context: &Context) -> CliError {
    let kicks = matches!(
        command,
        Command::Kick(_) | Command::Repair(_) | Command::Rollback(_)
    );
    let asks = matches!(
        command,
        Command::Status(_) | Command::Logs(_) | Command::History(_) | Command::Lock(_) | Command::Unlock(_)
    );
    let away = error.causes().any(|cause| match cause.downcast_ref::<Error>() {
        Some(Error::Unreachable { .. }) => true,
        Some(Error::Late { .. }) => asks,
        _ => false,
    });
    if !(kicks || asks) || !away || error.is_begun() {
        return error;
    }
    let environment = &context.environment;
    let stage = environment.text("SHIPIT_STAGE");
    error.maybe_hint(
        again(&environment.arguments(), stage).map(|again| format!("while it is down: `{again}`")),
    )
}

/// The command line that was given, without Consul; none where it asks for Consul itself.
fn again(arguments: &[String], stage: Option<String>) -> Option<String> {
    if arguments.iter().any(|argument| argument.ends_with("consul")) {
        return None;
    }
    let mut words = vec!["shipit".to_owned()];
    words.extend(arguments.iter().cloned());
    let named = |argument: &String| {
        argument == "--stage" || argument.starts_with("--stage=") || argument.starts_with("-s")
    };
    if let (Some(stage), false) = (stage, arguments.iter().any(named)) {
        words.extend(["--stage".to_owned(), stage]);
    }
    words.push("--without-consul".to_owned());
    shlex::try_join(words.iter().map(String::as_str)).ok()
}

#[cfg(test)]
mod tests {
    use super::again;

    fn of(line: &str, stage: Option<&str>) -> Option<String> {
        let arguments = line.split_whitespace().map(str::to_owned);
        again(&arguments.collect::<Vec<_>>(), stage.map(str::to_owned))
    }

    #[test]
    fn it_is_the_command_that_was_given() {
        assert_eq!(
            of("kick web --stage production --release 2026-1", None).unwrap(),
            "shipit kick web --stage production --release 2026-1 --without-consul"
        );
        assert_eq!(
            of("status", Some("staging")).unwrap(),
            "shipit status --stage staging --without-consul"
        );
        assert_eq!(
            of("lock -s x --status", Some("staging")).unwrap(),
            "shipit lock -s x --status --without-consul"
        );
        let words = ["lock", "-m", "db migration"].map(str::to_owned);
        assert_eq!(
            again(&words, None).unwrap(),
            "shipit lock -m 'db migration' --without-consul"
        );
        assert_eq!(of("kick web --transport consul", None), None);
        assert_eq!(of("kick web --transport=consul", None), None);
    }
}
