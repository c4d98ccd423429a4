//! Integration tests, in one binary so that they link once.

mod chains;
mod common;
mod compare;
mod damage;
mod faults;
mod floors;
mod golden;
mod hostile;
mod limits;
mod oci;
mod promises;
mod roundtrip;
mod transcripts;
