//! The templates that come with shipit, by the names under which others include and extend them.

use super::Template;

pub(super) const RELEASES: Template<'static> = Template {
    name: "shipit/manifest.yml.j2",
    text: include_str!("../../../../templates/manifest.yml.j2"),
};
pub(super) const PLAIN: Template<'static> = Template {
    name: "shipit/manifest-plain.yml.j2",
    text: include_str!("../../../../templates/manifest-plain.yml.j2"),
};
pub(super) const COMMANDS: Template<'static> = Template {
    name: "shipit/manifest-commands.yml.j2",
    text: include_str!("../../../../templates/manifest-commands.yml.j2"),
};
pub(super) const ONCE: Template<'static> = Template {
    name: "shipit/manifest-once.yml.j2",
    text: include_str!("../../../../templates/manifest-once.yml.j2"),
};
const HOOKS: Template<'static> = Template {
    name: "shipit/hooks.sh.j2",
    text: include_str!("../../../../templates/hooks.sh.j2"),
};
const REPORT_SHELL: Template<'static> = Template {
    name: "shipit/report.sh.j2",
    text: include_str!("../../../../templates/report.sh.j2"),
};
const REPORT: Template<'static> = Template {
    name: "shipit/report.yml.j2",
    text: include_str!("../../../../templates/report.yml.j2"),
};
/// All that a template may include or extend.
pub(super) const BUILTIN: [Template<'static>; 7] =
    [RELEASES, PLAIN, COMMANDS, ONCE, HOOKS, REPORT_SHELL, REPORT];
