//! What is generated from the tree of verbs: the manual and the completions.
//!
//! Judged by the programs that read them: groff, man and the shells that are installed.

use std::{fs, path::Path, process::Command};

use super::{Place, headstack, peer, run};

fn pages(directory: &Path) -> Vec<std::path::PathBuf> {
    let mut pages: Vec<_> = fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    pages.sort();
    pages
}

#[test]
fn every_verb_has_a_page_with_all_sections() {
    let place = Place::new();
    let directory = place.at("man");
    let written = headstack(&["man", "--json", &directory]).json();
    let pages = pages(Path::new(&directory));
    assert_eq!(written["pages"].as_array().unwrap().len(), pages.len());
    for name in [
        "headstack.1",
        "headstack-mount.1",
        "headstack-series-append.1",
        "headstack-snapshot-hold.1",
        "headstack-array-create.1",
        "headstack-nbd.1",
        "headstack-man.1",
    ] {
        assert!(pages.iter().any(|page| page.ends_with(name)), "{name}");
    }
    let (verbs, others): (Vec<_>, Vec<_>) = pages.iter().partition(|page| page.extension().unwrap() == "1");
    assert!(others.len() == 1 && others[0].ends_with("mount.fuse.headstack.8"));
    for page in verbs {
        let text = fs::read_to_string(page).unwrap();
        for section in ["NAME", "SYNOPSIS", "DESCRIPTION", "\"EXIT STATUS\"", "FILES"] {
            assert!(
                text.contains(&format!(".SH {section}\n")),
                "{section} in {}",
                page.display()
            );
        }
        let groups = [
            "headstack-series.1",
            "headstack-snapshot.1",
            "headstack-array.1",
            "headstack-disk.1",
            "headstack-tape.1",
            "headstack-dumpdates.1",
            "headstack-context.1",
            "headstack-event.1",
            "headstack-setting.1",
            "headstack-spare.1",
            "headstack-console.1",
            "headstack-notify.1",
            "headstack-notify-smtp.1",
            "headstack-notify-recipient.1",
            "headstack-notify-webhook.1",
            "headstack-sched.1",
            "headstack-sched-add.1",
        ];
        let group = groups.iter().any(|name| page.ends_with(name));
        assert!(group || text.contains(".SH EXAMPLES\n"), "{}", page.display());
    }
    let mount = fs::read_to_string(Path::new(&directory).join("headstack-mount.1")).unwrap();
    assert!(mount.contains("allow_other") && !mount.contains("tell\\-ready"));
}

#[test]
fn the_pages_render_without_warnings() {
    let Some(groff) = peer("groff") else { return };
    let place = Place::new();
    let directory = place.at("man");
    headstack(&["man", &directory]).text();
    for page in pages(Path::new(&directory)) {
        let rendered = run(
            Command::new(&groff)
                .args(["-man", "-Tutf8", "-ww", "-b", "-P-cbou"])
                .arg(&page),
            b"",
        )
        .text();
        assert!(rendered.contains("EXIT STATUS"), "{}", page.display());
    }
}

#[test]
fn man_shows_the_pages() {
    let Some(man) = peer("man") else { return };
    let place = Place::new();
    let directory = place.at("man");
    headstack(&["man", &directory]).text();
    let mut command = Command::new(man);
    command
        .args(["--warnings", "-P", "cat", "-l"])
        .arg(format!("{directory}/headstack-series-append.1"));
    command.env("LC_ALL", "C.UTF-8").env("MANWIDTH", "100");
    let shown = run(&mut command, b"").text();
    assert!(
        shown.contains("headstack series append db temperature 1700000000 21.5"),
        "{shown}"
    );
}

fn shell_accepts(shell: &str, check: &[&str]) {
    let place = Place::new();
    let script = headstack(&["completions", shell]).text();
    assert!(script.contains("series") && script.contains("entries-per-chunk"));
    let Some(program) = peer(shell) else { return };
    let path = place.at("script");
    fs::write(&path, &script).unwrap();
    run(Command::new(program).args(check).arg(&path), b"").text();
}

#[test]
fn bash_accepts_its_completions() {
    shell_accepts("bash", &["-n"]);
}

#[test]
fn zsh_accepts_its_completions() {
    shell_accepts("zsh", &["-n"]);
}

#[test]
fn fish_accepts_its_completions() {
    shell_accepts("fish", &["--no-execute"]);
}

#[test]
fn bash_completes_verbs() {
    let Some(bash) = peer("bash") else { return };
    let place = Place::new();
    let path = place.at("script");
    fs::write(&path, headstack(&["completions", "bash"]).text()).unwrap();
    let ask = format!(
        "source {path}; COMP_WORDS=(headstack series ap); COMP_CWORD=2; _headstack headstack ap series; echo ${{COMPREPLY[@]}}"
    );
    assert_eq!(run(Command::new(bash).args(["-c", &ask]), b"").text(), "append\n");
}
