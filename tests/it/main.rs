//! Integration tests, in one binary so that they link once.

mod ami;
mod botocore;
mod build;
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
mod plan;
mod promises;
mod roundtrip;
mod transcripts;
