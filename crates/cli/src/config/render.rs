//! A config error as the user sees it: each problem with its line and the wrong bytes underlined.

use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};

use super::error::{Invalid, Problem};

impl Invalid {
    /// Every problem with its line and the wrong bytes underlined, without a final line break. Inline secrets are masked.
    pub fn render(&self, colors: bool) -> String {
        let path = self.file.display().to_string();
        let renderer = if colors {
            Renderer::styled()
        } else {
            Renderer::plain()
        };
        let blocks: Vec<String> = self
            .problems
            .iter()
            .map(|problem| renderer.render(&[group(problem, &self.text, &path)]))
            .collect();
        blocks.join("\n\n")
    }
}

fn group<'a>(problem: &'a Problem, text: &'a str, path: &'a str) -> Group<'a> {
    let mut group = Group::with_title(Level::ERROR.primary_title(problem.message.as_str()));
    match &problem.span {
        Some(span) => {
            // A place at the very end of the text, where a parser stops, still needs bytes to show.
            let span = span.start.min(text.len())..span.end.min(text.len());
            let mut primary = AnnotationKind::Primary.span(span);
            if !problem.label.is_empty() {
                primary = primary.label(problem.label.as_str());
            }
            let mut snippet = Snippet::source(text).path(path).annotation(primary);
            if let Some((span, label)) = &problem.also {
                snippet =
                    snippet.annotation(AnnotationKind::Context.span(span.clone()).label(label.as_str()));
            }
            group = group.element(snippet);
        }
        None => group = group.element(annotate_snippets::Origin::path(path)),
    }
    match &problem.help {
        Some(help) => group.element(Level::HELP.message(help.as_str())),
        None => group,
    }
}
