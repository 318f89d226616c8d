//! `docs/configuration.md`, made from the declarations of the sections.

use std::fmt::Write;

use super::{
    sections::{Admin, Api, Cluster, General, Limits, Log, Push, Storage},
    value::Field,
};

const HEAD: &str = "\
# Configuration

<!-- Made by `anser config --print-reference`; change crates/anser/src/config/sections.rs instead. -->

`anser serve --config anser.toml` reads one TOML file. Every setting has a default, so an empty file is
a configuration; an unknown or mistyped setting is refused with its place in the file.
`anser config --check anser.toml` says whether a file is right without starting anything. Relative paths
count from the file's folder. A number of bytes is written `67108864` or `\"64 MiB\"`.

A file for a server that others can reach:

```toml
data = \"/var/lib/anser\"
master_key_file = \"/etc/anser/secret/master.key\"

[api]
listen = \"0.0.0.0:9324\"

[log]
format = \"json\"
```
";

/// The whole page.
pub fn page() -> String {
    let sections = [
        ("", General::ABOUT, General::fields()),
        ("api", Api::ABOUT, Api::fields()),
        ("limits", Limits::ABOUT, Limits::fields()),
        ("push", Push::ABOUT, Push::fields()),
        ("admin", Admin::ABOUT, Admin::fields()),
        ("cluster", Cluster::ABOUT, Cluster::fields()),
        ("storage", Storage::ABOUT, Storage::fields()),
        ("log", Log::ABOUT, Log::fields()),
    ];
    let mut page = String::from(HEAD);
    for (name, about, fields) in sections {
        match name {
            "" => page.push_str("\n## General\n\n"),
            _ => writeln!(page, "\n## [{name}]\n").expect("a string takes all"),
        }
        page.push_str(&sentence(about));
        page.push_str("\n\n| setting | what it does | kind | default | range |\n");
        page.push_str("|---|---|---|---|---|\n");
        for field in &fields {
            page.push_str(&row(field));
        }
    }
    page
}

fn row(field: &Field) -> String {
    let Field {
        name,
        about,
        kind,
        default,
        range,
    } = field;
    let default = default
        .as_ref()
        .map_or("–".into(), |default| format!("`{default}`"));
    let range = range.as_ref().map_or("–".into(), |(smallest, largest)| {
        format!("`{smallest}` to `{largest}`")
    });
    format!(
        "| `{name}` | {} | {kind} | {default} | {range} |\n",
        sentence(about)
    )
}

fn sentence(about: &[&str]) -> String {
    let lines: Vec<&str> = about.iter().map(|line| line.trim()).collect();
    lines.join(" ")
}
