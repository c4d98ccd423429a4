//! Integration tests, in one binary so that they link once.
#![allow(clippy::disallowed_methods, reason = "tests make files and start programs")]

mod advice;
mod ami;
mod ami_cases;
mod api;
mod attack;
#[cfg(feature = "network")]
mod aws_sign;
mod boot;
mod botocore;
mod build;
mod chains;
mod churn;
mod common;
mod compare;
mod compatibility;
mod damage;
mod delta_chain;
mod delta_damage;
mod delta_diff;
mod delta_files;
mod delta_in_place;
mod delta_limits;
mod delta_pairs;
mod delta_refusals;
mod delta_roundtrip;
mod diff_files;
mod doctor;
mod ebs;
mod english;
mod examples;
mod export;
mod faults;
mod fleet;
mod floors;
mod format_archives;
mod format_cases;
mod format_facts;
mod format_qcow2;
mod format_streams;
mod format_vhd;
mod format_vhdx;
mod format_vmdk;
mod format_wrapped;
mod formats;
mod fuzz_seeds;
mod golden;
mod guide;
mod hostile;
mod in_place_kills;
mod in_place_proof;
mod inside;
mod instance_store;
mod instance_store_hostile;
mod instance_store_oracles;
mod layouts;
mod limits;
mod lint_inside;
mod lint_systems;
#[cfg(feature = "network")]
mod moto;
mod names;
mod nbd_judged;
mod oci;
mod oracle;
mod order;
mod outputs;
mod parts;
mod peers;
mod plan;
mod promises;
mod promises_kept;
#[cfg(feature = "network")]
mod publish;
#[cfg(feature = "network")]
mod publish_bases;
#[cfg(feature = "network")]
mod publish_objects;
mod readers;
mod reflinks;
mod registry;
mod report;
#[cfg(feature = "network")]
mod retries;
mod roundtrip;
mod rpm;
mod schemas;
mod serve_aws;
mod serve_clients;
mod serve_full;
mod serve_instance_store;
mod serve_lists;
mod serve_mistakes;
mod serve_nbd;
mod sign;
mod storage;
mod store;
mod strip;
#[cfg(feature = "network")]
mod surroundings;
mod transcripts;
mod unreadable;
#[cfg(feature = "network")]
mod waits;
