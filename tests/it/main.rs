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
mod instance_store;
mod instance_store_hostile;
mod instance_store_oracles;
mod limits;
mod oci;
mod plan;
mod promises;
mod roundtrip;
mod transcripts;
