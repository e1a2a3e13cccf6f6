//! The mount, through the kernel.

mod fixture;
mod smoke;
