//! Admission control of the public listener.

pub mod rate;
pub mod shed;
pub mod slow_bodies;
