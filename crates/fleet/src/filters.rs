//! Events for named nodes: as few as fit, each with a filter that matches these nodes and no other.
//!
//! Agents match a filter anywhere in their node's name, as a regular expression, so that `web1` would reach `web10`: all filters
//! here are anchored and escaped. Not here: which nodes a role has.

use std::collections::BTreeMap;

use crate::consul::{EventRequest, TooLong, escape, preflight};

/// The events that tell these nodes and no others: `base` with node filters, as many as their sizes need. Other filters of
/// `base` stay: a node has to match them, too. Its node filter gives way to the names, which the caller has matched against
/// it. No nodes, no events.
///
/// # Errors
/// [`TooLong`] when not even one node's name fits into an event.
pub fn events(base: &EventRequest, nodes: &[String]) -> Result<Vec<EventRequest>, TooLong> {
    let mut names: Vec<&str> = nodes.iter().map(String::as_str).collect();
    // Names that are alike share their letters in a filter.
    names.sort_unstable();
    names.dedup();
    let with = |names: &[&str]| EventRequest {
        node: Some(names_filter(names)),
        ..base.clone()
    };
    let mut events = Vec::new();
    let mut from = 0;
    while from < names.len() {
        let mut event = with(&names[from..=from]);
        preflight(&event)?;
        let mut to = from + 1;
        while to < names.len() {
            let longer = with(&names[from..=to]);
            if preflight(&longer).is_err() {
                break;
            }
            event = longer;
            to += 1;
        }
        events.push(event);
        from = to;
    }
    Ok(events)
}

/// A filter that matches each of these names and nothing else; what names have in common stands in it once.
fn names_filter(names: &[&str]) -> String {
    let names: Vec<Vec<char>> = names.iter().map(|name| name.chars().collect()).collect();
    let parts: Vec<&[char]> = names.iter().map(Vec::as_slice).collect();
    format!("^{}$", one_of(&parts))
}

/// A filter that matches the names that a pattern means: `*` stands for any characters, everything else for itself.
pub fn pattern(pattern: &str) -> String {
    let parts: Vec<String> = pattern.split('*').map(escape).collect();
    format!("^{}$", parts.join(".*"))
}

/// Whether a pattern means a name; without `*` it means the name that is the same.
pub fn matches(pattern: &str, name: &str) -> bool {
    let Some((first, rest)) = pattern.split_once('*') else {
        return pattern == name;
    };
    let (middle, last) = rest.rsplit_once('*').unwrap_or(("", rest));
    let Some(mut left) = name.strip_prefix(first).and_then(|left| left.strip_suffix(last)) else {
        return false;
    };
    // The first place where a part stands leaves the most to the parts after it.
    middle.split('*').all(|part| match left.find(part) {
        Some(at) => {
            left = &left[at + part.len()..];
            true
        }
        None => false,
    })
}

/// An expression for distinct texts: their common beginning and end once, what differs between them in parentheses.
fn one_of(texts: &[&[char]]) -> String {
    if let [one] = texts {
        return escaped(one);
    }
    let least = texts.iter().map(|text| text.len()).min().unwrap_or_default();
    let same = |at: &dyn Fn(&[char]) -> char| texts.iter().all(|text| at(text) == at(texts[0]));
    let begin = (0..least).take_while(|&at| same(&|text| text[at])).count();
    let end = (0..least - begin)
        .take_while(|&at| same(&|text| text[text.len() - 1 - at]))
        .count();
    let middles: Vec<&[char]> = texts.iter().map(|text| &text[begin..text.len() - end]).collect();
    let (first, length) = (texts[0], texts[0].len());
    let (begin, end) = (escaped(&first[..begin]), escaped(&first[length - end..]));
    format!("{begin}{}{end}", alternatives(&middles))
}

/// Distinct texts that begin with different characters, and end so: in brackets when each is one letter or digit.
fn alternatives(texts: &[&[char]]) -> String {
    let letters: Option<String> = texts
        .iter()
        .map(|text| match text {
            [one] if one.is_ascii_alphanumeric() => Some(*one),
            _ => None,
        })
        .collect();
    if let Some(letters) = letters {
        return format!("[{letters}]");
    }
    let mut groups: BTreeMap<Option<char>, Vec<&[char]>> = BTreeMap::new();
    for text in texts {
        groups.entry(text.first().copied()).or_default().push(text);
    }
    let parts: Vec<String> = groups
        .values()
        .map(|group| {
            let plain: Vec<String> = group.iter().map(|text| escaped(text)).collect();
            let (plain, shared) = (plain.join("|"), one_of(group));
            if shared.len() < plain.len() { shared } else { plain }
        })
        .collect();
    format!("({})", parts.join("|"))
}

fn escaped(text: &[char]) -> String {
    escape(&text.iter().collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn base(payload: usize) -> EventRequest {
        EventRequest {
            name: "deploy_shop_web_production".to_owned(),
            payload: "p".repeat(payload),
            service: Some("^shop$".to_owned()),
            ..EventRequest::default()
        }
    }

    fn owned(names: &[&str]) -> Vec<String> {
        names.iter().map(|&name| name.to_owned()).collect()
    }

    /// Which of these names an event's filter reaches, as an agent finds out.
    fn reached<'a>(event: &EventRequest, names: &'a [String]) -> Vec<&'a str> {
        let filter = regex_lite::Regex::new(event.node.as_deref().unwrap()).unwrap();
        let all = names.iter().map(String::as_str);
        all.filter(|name| filter.is_match(name)).collect()
    }

    #[test]
    fn what_names_share_stands_once() {
        let filter = |names: &[&str]| names_filter(names);
        assert_eq!(filter(&["web1"]), "^web1$");
        assert_eq!(filter(&["web1", "web10"]), "^web1(|0)$");
        assert_eq!(filter(&["web1", "web2", "web3"]), "^web[123]$");
        assert_eq!(
            filter(&["db.example.com", "web.example.com"]),
            r"^(d|we)b\.example\.com$"
        );
        assert_eq!(
            filter(&["ip-10-0-1-17.local", "ip-10-0-1-18.local", "ip-10-0-2-9.local"]),
            r"^ip-10-0-(1-1[78]|2-9)\.local$"
        );
        assert_eq!(filter(&["a0z", "az", "b"]), "^(a0z|az|b)$");
    }

    #[test]
    fn each_name_is_reached_once_and_no_other() {
        let mut all: Vec<String> = (0..400).map(|at| format!("web{at}")).collect();
        all.extend((0..200).map(|at| format!("ip-10-0-{}-{}.ap-northeast-1.compute.internal", at % 7, at)));
        all.extend(owned(&[
            "a+b", "aab", "a.b", "axb", "(", "wéb", "wéb1", "x|y", "x", "[y]", "-",
        ]));
        let told: Vec<String> = all.iter().step_by(3).cloned().collect();
        for payload in [60, 180, 250] {
            let events = events(&base(payload), &told).unwrap();
            let mut found = Vec::new();
            for event in &events {
                preflight(event).unwrap();
                assert_eq!(event.service, base(0).service);
                found.extend(reached(event, &all));
            }
            let mut due: Vec<&str> = told.iter().map(String::as_str).collect();
            due.sort_unstable();
            found.sort_unstable();
            assert_eq!(found, due, "{payload}");
        }
    }

    #[test]
    fn as_few_events_as_fit() {
        let hundred: Vec<String> = (0..100).map(|at| format!("web{at:02}")).collect();
        assert_eq!(events(&base(100), &hundred).unwrap().len(), 1);
        assert_eq!(events(&base(100), &[]).unwrap(), []);
        let twice = owned(&["web1", "web1"]);
        assert_eq!(
            events(&base(100), &twice).unwrap()[0].node.as_deref(),
            Some("^web1$")
        );
        let long = events(&base(100), &["n".repeat(400)]).unwrap_err();
        assert!(long.to_string().contains("filters 408"), "{long}");
    }

    #[test]
    fn patterns_mean_whole_names() {
        for (text, means, not) in [
            ("web1", "web1", "web10"),
            ("web*", "web", "aweb1"),
            ("*.example.com", "a.example.com", "a.example.com.org"),
            ("web.*", "web.1", "web1"),
            ("a*b*c", "aXbYbc", "acb"),
            ("aa*aa", "aaaa", "aaa"),
            ("*", "", "\n"),
        ] {
            let filter = regex_lite::Regex::new(&pattern(text)).unwrap();
            assert!(matches(text, means) && filter.is_match(means), "{text} {means}");
            if not != "\n" {
                assert!(!matches(text, not) && !filter.is_match(not), "{text} {not}");
            }
        }
    }
}
