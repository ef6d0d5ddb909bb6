//! The table of stage kinds: glue between the workflow core and the rooms that do the work.

pub mod report;
