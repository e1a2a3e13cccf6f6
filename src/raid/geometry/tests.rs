//! Tests of the geometry: sets made by a kernel, properties of random shapes, the table of levels, reshapes.

mod kernel_sets;
mod kinds;
mod properties;
mod reshape;
