//! `--explain`: why a layer was not found.

use shipit_steps::{Difference, LayerKey, StepSpec, Tool};

use super::cached::Cache;
use super::keys::{main_key, short};
use super::layers::Layer;
use super::pack::Packer;
use crate::output::Output;

/// Says which parts of a layer's key changed since its step ran last.
pub fn miss(layer: &Layer<'_>, cache: &Cache<'_>, packer: &Packer<'_>, clean: bool, output: &Output) {
    let name = &layer.spec.name;
    if clean {
        output.say(format!("{name}: not looked for: --clean"));
        return;
    }
    if let Some(why) = &layer.unusable {
        output.say(format!("{name}: miss: its key is the same: {why}"));
        return;
    }
    let reason = reason(
        cache.latest_key(layer, packer).as_ref(),
        &main_key(&layer.keys, packer).0,
    );
    output.say(format!("{name}: miss: {reason}"));
}

/// Says why a step that makes no layer runs.
pub fn code(spec: &StepSpec, output: &Output) {
    let name = &spec.name;
    let why = match spec.tool {
        Tool::Go { .. } => "`go build` keeps a cache of its own",
        Tool::Run { .. } if spec.inputs.is_empty() => "with `inputs` and `outputs` it would be a layer",
        _ => "it says layer = false",
    };
    output.say(format!("{name}: runs each time, its result is code: {why}"));
}

fn reason(latest: Option<&LayerKey>, key: &LayerKey) -> String {
    let Some(latest) = latest else {
        return "no layer of this step is in the cache".to_owned();
    };
    let changed: Vec<String> = shipit_steps::differences(latest, key)
        .iter()
        .map(difference)
        .collect();
    if changed.is_empty() {
        return "its layer is no more in the cache".to_owned();
    }
    format!("changed since layer {}: {}", short(latest), changed.join(", "))
}

fn difference(difference: &Difference) -> String {
    let part = &difference.part;
    match (&difference.old, &difference.new) {
        (Some(old), Some(new)) => format!("{part} ({old} -> {new})"),
        (None, Some(_)) => format!("{part} (new)"),
        (_, None) => format!("{part} (gone)"),
    }
}

#[cfg(test)]
mod tests {
    use shipit_steps::KeyPart;

    use super::*;

    fn key(parts: &[(&str, &str)]) -> LayerKey {
        let parts = parts.iter().map(|(name, value)| KeyPart {
            name: (*name).to_owned(),
            value: (*value).to_owned(),
        });
        LayerKey {
            key: "0123456789".to_owned(),
            parts: parts.collect(),
        }
    }

    #[test]
    fn a_miss_says_what_changed() {
        let old = key(&[
            ("lockfile a.lock", "1"),
            ("platform", "linux"),
            ("tool node", "20.1.0"),
        ]);
        let new = key(&[
            ("file .npmrc", "5"),
            ("platform", "linux"),
            ("tool node", "20.2.0"),
        ]);
        assert_eq!(
            reason(Some(&old), &new),
            "changed since layer 0123456: file .npmrc (new), lockfile a.lock (gone), tool node (20.1.0 -> 20.2.0)"
        );
        assert_eq!(reason(Some(&old), &old), "its layer is no more in the cache");
        assert_eq!(reason(None, &old), "no layer of this step is in the cache");
    }
}
