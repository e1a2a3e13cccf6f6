use std::collections::HashMap;

use super::{listing::Names, *};

/// File systems in user space give names of up to 1024 bytes, of which a tape takes 255.
#[test]
fn names_that_no_tape_takes_are_told_and_left_out() {
    let room = tempfile::tempdir().unwrap();
    let tree = Tree::open(room.path()).unwrap();
    let mut numbers = Numbers::new(tree.status().identity);
    let (selection, images) = (Selection::default(), Images::default());
    let leave_out = LeftOut {
        flagged: false,
        selection: &selection,
        images: &images,
    };
    let stop = AtomicBool::new(false);
    for (length, taken) in [(255, true), (256, false), (1024, false)] {
        let mut walk = Walk::over(&tree, &mut numbers, leave_out, &stop).unwrap();
        let listing = Ok(Names::of_one(&vec![b'n'; length], *tree.status()));
        let entered = walk.enter(listing, 0, &mut numbers, &mut HashMap::new(), leave_out);
        entered.unwrap().unwrap();
        assert_eq!(walk.folders[0].entries.len(), usize::from(taken), "{length} bytes");
        assert_eq!(walk.troubles.len(), usize::from(!taken), "{:?}", walk.troubles);
    }
}
