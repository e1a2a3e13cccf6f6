//! placeholder
//! placeholder
//! placeholder
