//! The networks, written once over [`Backend`](crate::backend::Backend): which ops in which order. Knows no device.

pub mod architecture;
pub mod batch;
pub mod encoder;
pub mod heads;
pub mod pretraining;
