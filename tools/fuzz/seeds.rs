//! Where a fuzz target's first input comes from: the structure as it is when nothing is wrong with it.
//!
//! `tools/fuzz/run` names the file in `HEADSTACK_FUZZ_SEED`; libFuzzer reads its corpus after this.

/// Writes the first input, where a file is named for it.
pub fn keep(seed: &[u8]) {
    if let Some(path) = std::env::var_os("HEADSTACK_FUZZ_SEED")
        && let Err(error) = std::fs::write(&path, seed)
    {
        panic!("{}: {error}", path.display());
    }
}
