//! The mount, through the kernel.
//!
//! [`table`] goes through the operation table row by row and [`differential`] holds it against ext4; [`values`],
//! [`life`] and [`inodes`] are the layout; [`tools`] are the programs that people have; [`coherence`], [`model`],
//! [`damage`] and [`session`] are what must survive.

mod coherence;
mod damage;
mod differential;
pub mod fixture;
mod inodes;
mod life;
mod model;
mod session;
mod table;
mod tools;
mod values;
