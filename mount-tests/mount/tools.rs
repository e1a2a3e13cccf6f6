//! The tools that people have, on a mount: coreutils, tar, rsync, shells.
//!
//! Each line of the layout's promises (sorted text of one width, exact sizes, entries met once in a walk) is what some
//! tool needs.

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    process::{Command, Stdio},
};

use super::fixture::{Mount, appender, records, shell, try_shell};

fn filled() -> (Mount, std::path::PathBuf) {
    let mount = Mount::new();
    let series = mount.series("s");
    mount.set(&series, "entries_per_chunk", "1000");
    appender(&series.join("raw")).write_all(&records(1..=20_000)).unwrap();
    fs::create_dir(mount.path(".snapshot/x")).unwrap();
    (mount, series)
}

/// Lines sort as text and have one width, so the classic tools find their way.
#[test]
fn text_tools_read_the_series() {
    let (_mount, series) = filled();
    let run = |command: &str| shell(&format!("cd {}; {command}", series.display()));
    assert_eq!(run("wc -l < text"), "20000\n");
    assert_eq!(run("head -n 1 text"), "00000000000000000001 0300000000000000\n");
    assert_eq!(run("tail -n 1 text"), "00000000000000020000 60ea000000000000\n");
    assert_eq!(run("tail -c 38 text"), "00000000000000020000 60ea000000000000\n");
    assert_eq!(
        run("dd if=text bs=38 skip=9999 count=1 2>/dev/null"),
        "00000000000000010000 3075000000000000\n"
    );
    assert_eq!(run("sort -c text && echo sorted"), "sorted\n");
    assert_eq!(run("grep -c '^0000000000000001' text"), "10000\n");
    assert_eq!(run("awk 'END { print NR }' text"), "20000\n");
    assert_eq!(run("join text text | wc -l"), "20000\n");
    assert_eq!(run("cmp text <(cat chunks/*.text) && echo same"), "same\n");
    assert_eq!(run("cmp raw <(dd if=raw bs=1M 2>/dev/null) && echo same"), "same\n");
    assert_eq!(
        run(
            "split -b 38000 text /tmp/headstack-split-$$-; ls /tmp/headstack-split-$$-* | wc -l; rm /tmp/headstack-split-$$-*"
        ),
        "20\n"
    );
    assert_eq!(
        run("split -n l/3 text --filter='wc -l' | awk '{ n += $1 } END { print n }'"),
        "20000\n"
    );
    if try_shell("look --version; test $? -le 1 && command -v look")
        .status
        .success()
    {
        // look maps its file, which a growing one does not allow.
        assert_eq!(
            run("look 00000000000000012345 ../.snapshot/x/s/text"),
            "00000000000000012345 ab90000000000000\n"
        );
    }
}

#[test]
fn archives_and_copies_are_whole() {
    let (mount, series) = filled();
    let out = mount.scratch("out");
    fs::create_dir(&out).unwrap();
    for source in ["s", ".snapshot/x/s"] {
        let command = format!(
            "tar -C {} -cf - {source} | tar -C {} -xf -",
            mount.point().display(),
            out.display()
        );
        let tar = try_shell(&format!("set -o pipefail; {command}"));
        let said = String::from_utf8_lossy(&tar.stderr).into_owned();
        assert!(
            tar.status.success() && !said.contains("shrank") && !said.contains("changed"),
            "{said}"
        );
        assert!(fs::read(out.join(source).join("raw")).unwrap() == records(1..=20_000));
    }
    assert_eq!(
        shell(&format!("ls {}", out.join(".snapshot/x/s").display())),
        "meta\nraw\n"
    );
    if try_shell("command -v rsync").status.success() {
        let to = mount.scratch("mirror");
        let copy = format!("rsync -a {}/ {}/", mount.path(".snapshot/x").display(), to.display());
        shell(&copy);
        assert!(fs::read(to.join("s/raw")).unwrap() == records(1..=20_000));
        assert_eq!(shell(&format!("{copy} -i | grep -v '^\\.d' || true")), "");
    }
    shell(&format!(
        "cp {} {}",
        series.join("raw").display(),
        out.join("copy").display()
    ));
    assert!(fs::read(out.join("copy")).unwrap() == records(1..=20_000));
    // Nothing but a directory is walked into twice, and sizes add up.
    shell(&format!(
        "du -s {} && find {0} -ls > /dev/null",
        mount.point().display()
    ));
}

#[test]
fn tail_follows_what_is_appended() {
    let (_mount, series) = filled();
    let mut tail = Command::new("tail")
        .args(["-n", "1", "-s", "0.05", "-f"])
        .arg(series.join("text"))
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(tail.stdout.take().unwrap()).lines();
    assert_eq!(lines.next().unwrap().unwrap(), "00000000000000020000 60ea000000000000");
    for t in 20_001..20_005u64 {
        shell(&format!(
            "echo {t} {:02x} >> {}",
            t % 256,
            series.join("text").display()
        ));
        assert_eq!(
            lines.next().unwrap().unwrap(),
            format!("{t:020} {:02x}00000000000000", t % 256)
        );
    }
    tail.kill().unwrap();
    tail.wait().unwrap();
}

#[test]
fn shells_append_with_what_they_have() {
    let (_mount, series) = filled();
    let run = |command: &str| shell(&format!("cd {}; {command}", series.display()));
    run("echo 20001 01 >> text");
    run("printf '20002 02\\n20003 03\\n' | tee -a text > /dev/null");
    run("seq 20004 20100 | sed 's/$/ ff/' >> text");
    run("(echo 20101 01; echo 20102 02) >> text");
    run("seq 20103 20200 | while read t; do echo $t aa; done >> text");
    run("seq 20201 20300 | awk '{ print $1, \"bb\" }' | dd of=text oflag=append conv=notrunc 2>/dev/null");
    assert_eq!(run("wc -l < text"), "20300\n");
    let refused = try_shell(&format!("echo 20300 00 >> {}", series.join("text").display()));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("Numerical result out of range"));
    assert!(
        !try_shell(&format!("echo 30000 00 > {}", series.join("text").display()))
            .status
            .success()
    );
}

/// Several processes append to one series; every entry that was not refused is there once.
#[test]
fn several_processes_append() {
    let mount = Mount::new();
    let series = mount.series("s");
    let writer = "for i in $(seq 200); do t=$(date +%s%N); echo $t $1 2>/dev/null >> text || echo lost; done";
    let command = format!(
        "cd {}; for n in 1 2 3 4; do bash -c '{writer}' - 0$n > {}/lost$n & done; wait; cat {1}/lost* | wc -l",
        series.display(),
        mount.scratch("").display()
    );
    let lost: u64 = shell(&command).trim().parse().unwrap();
    let lines: u64 = shell(&format!("sort -cu {0}/text && wc -l < {0}/text", series.display()))
        .trim()
        .parse()
        .unwrap();
    assert_eq!(lines + lost, 800);
    assert!(lines > 200, "{lost} of 800 were overtaken");
}
