//! Benchmarks of the series engine.

fn main() {}
