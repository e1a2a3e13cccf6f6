//! Chains of increments of every kind, with hostile changes between the dumps, restored dump by dump.
//!
//! Which dump builds on which is taken from the table in the manual of the filers, not from what is remembered.

use std::{fs, path::Path};

use headstack::{
    dump::{
        Error,
        reader::Reader,
        restore::{Destination, restore_chain},
    },
    tape::Container,
};

use super::{Place, describe, root, same};

/// Changes a tree in a way of its own for each step: names go, come, move and are used again.
fn change(tree: &Path, step: usize) {
    let at = |name: &str| tree.join(name);
    fs::write(at(&format!("new{step}")), format!("of step {step}")).unwrap();
    fs::create_dir(at(&format!("d{step}"))).unwrap();
    fs::write(at(&format!("d{step}/inner")), "x".repeat(step * 100)).unwrap();
    if step == 0 {
        fs::create_dir(at("moving")).unwrap();
        fs::write(at("moving/kept"), "kept").unwrap();
        fs::write(at("same"), "as it was").unwrap();
        return;
    }
    fs::remove_file(at(&format!("new{}", step - 1))).unwrap();
    fs::rename(at(&format!("d{}/inner", step - 1)), at(&format!("d{step}/older"))).unwrap();
    fs::rename(at("moving"), at("aside")).unwrap();
    fs::rename(at(&format!("d{}", step - 1)), at("moving")).unwrap();
    fs::rename(at("aside"), at(&format!("moving/m{step}"))).unwrap();
    fs::hard_link(at(&format!("new{step}")), at(&format!("link{step}"))).unwrap();
    // What was a file becomes a directory, and the other way round.
    let turned = at("turned");
    if step.is_multiple_of(2) {
        fs::remove_file(&turned).unwrap();
        fs::create_dir(&turned).unwrap();
    } else {
        let _ = fs::remove_dir(&turned);
        fs::write(&turned, "file").unwrap();
    }
}

/// Dumps at these levels with changes between, then restores for some dumps the chain that `bases` says, by places.
fn chains(levels: &[u8], bases: &[Option<usize>], restored: &[usize]) {
    let mut place = Place::new();
    let tree = place.path("tree");
    let mut trees = Vec::new();
    for (step, level) in levels.iter().enumerate() {
        change(&tree, step);
        let summary = place.dump(*level, place.listed(&format!("t{step}"), Container::Tap));
        assert_eq!(summary.troubles, [], "step {step}");
        trees.push(restored.contains(&step).then(|| describe(&tree)));
    }
    let reader = |step: usize| Reader::open(place.listed(&format!("t{step}"), Container::Tap), 0).unwrap();
    for last in restored {
        let mut chain = vec![*last];
        while let Some(base) = bases[chain[0]] {
            chain.insert(0, base);
        }
        let out = place.path(&format!("out/{last}"));
        fs::create_dir(&out).unwrap();
        let destination = Destination::open(&out).unwrap();
        for step in &chain {
            let told = restore_chain(&mut reader(*step), &destination).unwrap();
            assert_eq!(told.troubles, [], "step {step} of {chain:?}");
        }
        let expected = trees[*last].as_deref().unwrap();
        same(&describe(&out), expected, &format!("levels {levels:?}, {chain:?}"));
        // A dump that does not build on the last one is refused.
        if let Some(other) = (1..levels.len()).find(|step| bases[*step] != Some(*last)) {
            let refused = restore_chain(&mut reader(other), &destination);
            assert!(matches!(refused, Err(Error::WrongTape { .. })), "{refused:?}");
        }
    }
}

/// D30, D31, D32, D33: the chains of the manual, consecutive and not, each dump of them restored on top of its base.
#[test]
fn chains_of_every_kind_come_back() {
    if !root() {
        return;
    }
    chains(&[0, 1, 2], &[None, Some(0), Some(1)], &[2]);
    chains(&[0, 2, 3, 1, 4], &[None, Some(0), Some(1), Some(0), Some(3)], &[2, 4]);
    chains(&[0, 1, 1, 1], &[None, Some(0), Some(0), Some(0)], &[1, 2, 3]);
    chains(&[0, 1, 2, 1, 2], &[None, Some(0), Some(1), Some(0), Some(3)], &[2, 4]);
}

/// D29: all 31 levels above level 0, one on top of the other.
#[test]
fn all_levels_come_back() {
    if !root() {
        return;
    }
    let levels: Vec<u8> = (0..=31).collect();
    let bases: Vec<Option<usize>> = (0..32_usize).map(|step| step.checked_sub(1)).collect();
    chains(&levels, &bases, &[31]);
}
