//! The nearest right name for a wrong one.

/// A name counts as near from this likeness on (Jaro-Winkler, 0 to 1).
const NEAR: f64 = 0.8;

/// The nearest of the known names, best first, at most three; empty when none is near.
pub fn nearest<'a>(wrong: &str, known: impl IntoIterator<Item = &'a str>) -> Vec<String> {
    let folded = fold(wrong);
    let mut near: Vec<(f64, &str)> = known
        .into_iter()
        .map(|name| {
            let typo = strsim::damerau_levenshtein(&folded, &fold(name)) <= 1 && folded.len() > 2;
            let likeness = strsim::jaro_winkler(&folded, &fold(name));
            (if typo { likeness.max(0.95) } else { likeness }, name)
        })
        .filter(|(likeness, _)| *likeness >= NEAR)
        .collect();
    near.sort_by(|a, b| b.0.total_cmp(&a.0).then_with(|| a.1.cmp(b.1)));
    // What is much less like it than the best is noise beside it.
    let best = near.first().map_or(0.0, |(likeness, _)| *likeness);
    near.retain(|(likeness, _)| best - likeness < 0.05);
    near.into_iter()
        .take(3)
        .map(|(_, name)| name.to_owned())
        .collect()
}

/// Case and the choice of `-` or `_` make no name another one.
fn fold(name: &str) -> String {
    name.to_lowercase().replace('-', "_")
}

/// `a`, `a` or `b`, `a`, `b` or `c`, each in backticks.
pub fn one_of<S: AsRef<str>>(names: &[S]) -> String {
    let quoted: Vec<String> = names.iter().map(|name| format!("`{}`", name.as_ref())).collect();
    match quoted.split_last() {
        None => String::new(),
        Some((only, [])) => only.clone(),
        Some((last, rest)) => format!("{} or {last}", rest.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::{nearest, one_of};

    #[test]
    fn finds_typos_and_other_spellings() {
        let keys = ["after_switch", "before_switch", "shared", "dest", "owner"];
        assert_eq!(nearest("after-switch", keys), ["after_switch"]);
        assert_eq!(nearest("afterswitch", keys)[0], "after_switch");
        assert_eq!(nearest("dset", keys), ["dest"]);
        assert_eq!(nearest("Shared", keys), ["shared"]);
        assert!(nearest("colour", keys).is_empty());
    }

    #[test]
    fn lists_in_words() {
        assert_eq!(one_of::<&str>(&[]), "");
        assert_eq!(one_of(&["a"]), "`a`");
        assert_eq!(one_of(&["a", "b", "c"]), "`a`, `b` or `c`");
    }
}
