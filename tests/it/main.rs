//! Integration tests, in one binary so that they link once.

mod common;
mod compare;
mod damage;
mod delta_chain;
mod delta_damage;
mod delta_diff;
mod delta_in_place;
mod delta_limits;
mod delta_pairs;
mod delta_refusals;
mod delta_roundtrip;
mod faults;
mod floors;
mod golden;
mod hostile;
mod limits;
mod oci;
mod promises;
mod roundtrip;
mod transcripts;
