//! FUSE face of the series engine.
