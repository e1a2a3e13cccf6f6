//! Bad-block logs that we write, before mdadm and a real kernel's md: what we call lost, they call lost, and nothing else.
//!
//! The rebuild runs on simulated storage, where a sector can be made unreadable; the images are then put on this machine.

use std::{
    fmt::Write as _,
    fs,
    ops::ControlFlow,
    path::{Path, PathBuf},
    sync::Arc,
};

use headstack::{
    raid::{
        Level, Slot,
        assemble::Image,
        create::{Initialisation, NewImage, Wish, create},
        metadata::identity::{Time, Uuid},
    },
    storage::{Directory as _, SimDirectory, sim::Verb},
};

use super::md::{Kernel, Mdadm};

const IMAGE_BYTES: u64 = 6 << 20;
/// Page of the member's data area that cannot be read.
const FLAW: u64 = 300 * 4096;

fn new_image(directory: &SimDirectory, n: u8) -> NewImage {
    let name = PathBuf::from(format!("m{n}"));
    directory.create(&name, &mut |file| file.set_size(IMAGE_BYTES)).unwrap();
    NewImage {
        image: Image {
            directory: Arc::new(directory.clone()),
            name,
        },
        uuid: Uuid([n + 1; 16]),
    }
}

/// Makes an array in which a page is lost; returns what has to be read, with zeros for it, and the pages that are lost.
fn make(folder: &Path, level: Level, wounded: u16) -> (Vec<PathBuf>, Vec<u8>, Vec<u64>) {
    let directory = SimDirectory::new();
    let members: u8 = if level == Level::Raid1 { 2 } else { 3 };
    let wish = Wish {
        name: format!("flawed{level}"),
        uuid: Uuid([0x77; 16]),
        created: Time::new(1_700_000_000, 0),
        level,
        layout: if level == Level::Raid1 { 0 } else { 2 },
        chunk_bytes: 64 << 10,
        initialisation: Initialisation::Foreground,
        member_bytes: None,
        bitmap_chunk_bytes: Some(0),
        overwrite: false,
    };
    let images: Vec<_> = (0..members).map(|n| Some(new_image(&directory, n))).collect();
    let array = create(&wish, &images, &[]).unwrap();
    let mut bytes: Vec<u8> = (0..array.size_bytes() / 8)
        .flat_map(|n| (n ^ 0x5a5a_0000).to_le_bytes())
        .collect();
    bytes.resize(usize::try_from(array.size_bytes()).unwrap(), 1);
    array.write_at(&bytes, 0, true).unwrap();
    array.fail_member(Slot(1)).unwrap();
    array
        .add(&new_image(&directory, members).image, Uuid([0x99; 16]))
        .unwrap();
    let path = PathBuf::from(format!("m{wounded}"));
    let place = data_offset(&directory, &path) + FLAW + 100;
    directory.set_rule(move |one| {
        let hit = one.verb == Verb::Read && one.path == path;
        (hit && one.offset_bytes <= place && one.offset_bytes + one.length_bytes > place).then_some(libc::EIO)
    });
    array.rebuild(&mut |_| ControlFlow::Continue(())).unwrap();
    directory.clear_rule();
    let (mut at, mut lost) = (0, Vec::new());
    for (length, flags) in array.health_status(0, array.size_bytes()) {
        if flags & 2 != 0 {
            lost.extend((at..at + length).step_by(4096).map(|at| at / 4096));
        }
        at += length;
    }
    for page in &lost {
        let start = usize::try_from(page * 4096).unwrap();
        bytes[start..start + 4096].fill(0);
    }
    array.stop(Time::new(1_700_000_100, 0)).unwrap();
    let mut paths = Vec::new();
    for n in (0..=members).filter(|n| *n != 1) {
        let name = format!("m{n}");
        let to = folder.join(format!("{level}-{name}"));
        fs::write(&to, directory.read(Path::new(&name), u64::MAX).unwrap()).unwrap();
        paths.push(to);
    }
    (paths, bytes, lost)
}

fn data_offset(directory: &SimDirectory, path: &Path) -> u64 {
    let head = directory.read(path, u64::MAX).unwrap();
    u64::from_le_bytes(head[4096 + 0x80..4096 + 0x88].try_into().unwrap()) * 512
}

/// R35, R53: a rebuild that met a sector it could not read: mdadm lists the same sectors, and the kernel gives errors for
/// the same pages and right bytes for all others.
#[test]
fn mdadm_and_the_kernel_agree_on_what_is_lost() {
    let (Some(mdadm), Some(kernel)) = (Mdadm::find(), Kernel::find()) else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let mut script = String::from("set -e\n");
    let mut count = 0;
    for (level, wounded) in [(Level::Raid5, 0), (Level::Raid5, 2), (Level::Raid1, 0)] {
        let sub = folder.path().join(format!("c{count}"));
        fs::create_dir(&sub).unwrap();
        let (paths, bytes, lost) = make(&sub, level, wounded);
        assert!(!lost.is_empty() && lost.len() <= 2, "{lost:?}");
        let file = fs::read(&paths[0]).unwrap();
        let sector = u64::from_le_bytes(file[4096 + 0x80..4096 + 0x88].try_into().unwrap()) + FLAW / 512;
        let flawed: Vec<bool> = paths
            .iter()
            .map(|path| {
                let said = mdadm.say(&["--examine-badblocks"], path);
                let listed: Vec<&str> = said
                    .lines()
                    .filter(|line| line.contains(" for "))
                    .map(str::trim)
                    .collect();
                assert!(
                    listed.is_empty() || listed == [format!("{sector} for 8 sectors")],
                    "{said}"
                );
                !listed.is_empty()
            })
            .collect();
        // The new member is the last, and the wounded one stands before it.
        assert_eq!(flawed.iter().filter(|flawed| **flawed).count(), 2, "{flawed:?}");
        assert!(flawed[flawed.len() - 1]);
        fs::write(sub.join("expected"), &bytes).unwrap();
        let names: Vec<String> = paths
            .iter()
            .map(|path| format!("./c{count}/{}", path.file_name().unwrap().display()))
            .collect();
        write!(
            script,
            "loops=; for f in {}; do l=$(losetup -f --show $f); loops=\"$loops $l\"; done\n\
             mdadm --assemble /dev/md0 $loops 2>&1\n\
             dd if=/dev/md0 of=./c{count}/read bs=4096 iflag=direct conv=noerror,sync 2>./c{count}/errors\n\
             cmp ./c{count}/read ./c{count}/expected && echo same bytes\n\
             echo errors $(grep -c 'error reading' ./c{count}/errors)\n",
            names.join(" ")
        )
        .unwrap();
        for page in &lost {
            writeln!(
                script,
                "if dd if=/dev/md0 of=/dev/null bs=4096 skip={page} count=1 iflag=direct 2>/dev/null; then exit 1; fi; echo lost"
            )
            .unwrap();
        }
        script.push_str("mdadm --stop /dev/md0 2>&1; losetup -d $loops\n");
        count += 1;
    }
    let said = kernel.run(folder.path(), &script, &[]);
    assert_eq!(said.matches("same bytes").count(), count, "{said}");
    let lost = said.lines().filter(|line| *line == "lost").count();
    assert!(lost >= count, "{said}");
}
