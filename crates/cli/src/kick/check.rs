//! What must be good between two waves: a URL that answers, or a command that succeeds.

use std::num::NonZeroUsize;
use std::time::Duration;

use shipit_fleet::exec::{self, ExecRequest, Filters, HostResult};
use shipit_fleet::probe::probe;

use super::outcome::Stop;
use super::plan::Plan;
use super::stage::Stage;
use crate::config::WaveCheck;
use crate::errors::{CliError, chain};
use crate::report;

/// How long a URL may take.
const URL_LIMIT: Duration = Duration::from_secs(10);
/// What the command's output is shown under.
const SHOWN_AS: &str = "wave_check";
/// The variable that hands the command over: it need not be written as a template then.
const COMMAND: &str = "SHIPIT_WAVE_CHECK";

/// Runs the check after a wave. A command may take as long as a wave, and learns from its environment what is deployed.
pub fn run(stage: &Stage<'_>, plan: &Plan<'_>, check: &WaveCheck, wave: usize) -> Result<(), Stop> {
    stage.say(format!("checking before the next wave: {}", shown(check)));
    match check {
        WaveCheck::Url(url) => {
            let answer = stage.wait(async { Ok(probe(url, URL_LIMIT).await) })?;
            answer.map_err(|error| Stop::Check(chain(&error)))
        }
        WaveCheck::Command(command) => by_command(stage, plan, command, wave),
    }
}

fn by_command(stage: &Stage<'_>, plan: &Plan<'_>, command: &str, wave: usize) -> Result<(), Stop> {
    let context = stage.context;
    let mut env = context.environment.all();
    let known = [
        (COMMAND, command.to_owned()),
        ("SHIPIT_APP", stage.config.app.clone()),
        ("SHIPIT_STAGE", stage.config.stage().to_owned()),
        ("SHIPIT_ROLE", plan.name().to_owned()),
        ("SHIPIT_RELEASE", plan.release.id.to_string()),
        ("SHIPIT_REVISION", plan.release.revision.clone()),
        ("SHIPIT_WAVE", wave.to_string()),
    ];
    env.extend(known.map(|(name, value)| (name.into(), value.into())));
    let request = ExecRequest {
        hosts: vec![SHOWN_AS.to_owned()],
        command: format!("cd \"$SHIPIT_CONFIG_DIR\" && eval \"${COMMAND}\""),
        url: plan.url.clone(),
        limit: NonZeroUsize::MIN,
        timeout: plan.course.timeout.get(),
        env: with_directory(env, stage),
        filters: Filters::none(),
    };
    let reporter = report::Exec::new(&context.output);
    let on_event = |event: exec::Event| reporter.event(&event);
    let ended = context.block_on_to_the_end(async {
        exec::run(&request, context.interrupt.asked(), &on_event)
            .await
            .map_err(CliError::from)
    })?;
    match ended.first().map(|outcome| &outcome.result) {
        Some(HostResult::Succeeded) => Ok(()),
        _ if stage.is_stopped() => Err(Stop::Signal),
        Some(result) => Err(Stop::Check(format!(
            "{} {}",
            program(command),
            report::result(result)
        ))),
        None => Err(Stop::Check(format!("{} was not run", program(command)))),
    }
}

/// A check as logs, the history and notices may show it: what is handed over in a URL or to a program may be a secret.
fn shown(check: &WaveCheck) -> String {
    match check {
        WaveCheck::Url(url) => shipit_store::redacted(url),
        WaveCheck::Command(command) => program(command),
    }
}

/// The program of a command, without what is set for it and what it is given.
fn program(command: &str) -> String {
    let is_set = |word: &&str| {
        let name = word.split_once('=').map(|(name, _)| name);
        name.is_some_and(|name| name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_'))
    };
    // A value with blanks in it stands in quotes: what follows is no program for sure.
    let mut words = command.split_whitespace().skip_while(is_set);
    let plain = |word: &&str| !word.contains(['"', '\'', '=', '@', '$', '`']);
    match (words.next().filter(plain), words.next()) {
        (None, _) => "the command".to_owned(),
        (Some(program), None) => program.to_owned(),
        (Some(program), Some(_)) => format!("{program} …"),
    }
}

/// A command is written seen from the config's directory.
fn with_directory(
    mut env: Vec<(std::ffi::OsString, std::ffi::OsString)>,
    stage: &Stage<'_>,
) -> Vec<(std::ffi::OsString, std::ffi::OsString)> {
    env.push(("SHIPIT_CONFIG_DIR".into(), stage.config.dir.clone().into()));
    env
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_check_is_given_is_not_shown() {
        let show = |text: &str| shown(&WaveCheck::of(text));
        let url = show("https://bob:geheim@shop.example.com/x?token=geheim");
        assert_eq!(url, "https://shop.example.com/x?…");
        assert_eq!(show("deploy/error-rate --token geheim"), "deploy/error-rate …");
        assert_eq!(show("TOKEN=geheim deploy/check"), "deploy/check");
        assert_eq!(show("TOKEN='ge heim' deploy/check"), "the command");
        assert_eq!(show("curl -u bob:geheim https://bob:geheim@x/"), "curl …");
        assert_eq!(show("true"), "true");
    }
}
