//! Integration tests, in one binary so that they link once.

mod compare;
mod floors;
mod golden;
mod oci;
