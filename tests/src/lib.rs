//! Scenarios, simulation, fault injection and the client matrix.

pub mod sim;
