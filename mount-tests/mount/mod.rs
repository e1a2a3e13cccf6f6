//! The mount, through the kernel: the operation table, the tools that people use, and what must survive.

mod coherence;
mod damage;
mod differential;
mod fixture;
mod inodes;
mod life;
mod model;
mod session;
mod table;
mod tools;
mod values;
