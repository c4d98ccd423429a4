//! What a user can ask for, one verb a file: a request in, a report out. Nothing here prints.

mod apply;
mod archive;
mod bench;
mod boot;
mod build;
mod cat;
mod churn;
mod compare;
mod complete;
mod convert;
mod diff;
mod diff_files;
mod doctor;
mod export;
#[cfg(feature = "network")]
mod fetch;
mod fleet;
mod import;
mod init;
mod inspect;
pub mod instance_store;
mod join;
mod lint;
mod list;
mod merge;
mod pack;
mod packages;
mod page;
mod part;
mod plan;
#[cfg(feature = "network")]
mod publish;
mod pull;
mod push;
mod register;
pub mod serve;
mod shared;
mod sign;
mod snapshot;
pub mod store;
mod unpack;
#[cfg(feature = "network")]
mod unpublish;
mod usage;
mod verify;

pub use crate::format::ImageRequest;
pub use crate::tables::Format as TableFormat;
pub use apply::Applied;
pub use apply::ApplyReport;
pub use apply::ApplyRequest;
pub use apply::ApplyTo;
pub use apply::Settle;
pub use apply::SettleRequest;
pub use apply::apply;
pub use apply::settle;
pub use archive::ArchiveReport;
pub use archive::ArchiveRequest;
pub use archive::archive;
pub use bench::BenchReport;
pub use bench::BenchRequest;
pub use bench::HashEngine;
pub use bench::Stage;
pub use bench::bench;
pub use boot::boot;
pub use build::BuildReport;
pub use build::BuildRequest;
pub use build::BuiltPlan;
pub use build::TestReport;
pub use build::build;
pub use cat::cat;
pub use churn::CauseSum;
pub use churn::ChurnName;
pub use churn::ChurnReport;
pub use churn::ChurnRequest;
pub use churn::FollowingSum;
pub use churn::InsideSum;
pub use churn::RealSum;
pub use churn::churn;
pub use compare::CompareReport;
pub use compare::CompareRequest;
pub use compare::DifferentRange;
pub use compare::compare;
pub use complete::CompleteReport;
pub use complete::CompleteRequest;
pub use complete::complete;
pub use convert::ConvertReport;
pub use convert::ConvertRequest;
pub use convert::Zeros;
pub use convert::convert;
pub use diff::ChangedRange;
pub use diff::ChangedSum;
pub use diff::DiffReport;
pub use diff::DiffRequest;
pub use diff::ListedBlock;
pub use diff::diff;
pub use diff_files::BlockChange;
pub use diff_files::BlockShare;
pub use diff_files::Change;
pub use diff_files::ClassSum;
pub use diff_files::DiffFilesRequest;
pub use diff_files::Entry;
pub use diff_files::FileChange;
pub use diff_files::FilesReport;
pub use diff_files::FolderSum;
pub use diff_files::PackageChange;
pub use diff_files::diff_files;
pub use diff_files::diff_files_placed;
pub use doctor::DoctorReport;
pub use doctor::DoctorRow;
pub use doctor::doctor;
pub use export::ExportReport;
pub use export::ExportRequest;
pub use export::TableRows;
pub use export::export;
#[cfg(feature = "network")]
pub use fetch::FetchReport;
#[cfg(feature = "network")]
pub use fetch::FetchRequest;
#[cfg(feature = "network")]
pub use fetch::FetchedVolume;
#[cfg(feature = "network")]
pub use fetch::fetch;
pub use fleet::ChurnReport as FleetChurn;
pub use fleet::FleetReport;
pub use fleet::FleetRequest;
pub use fleet::Freed;
pub use fleet::FreesReport;
pub use fleet::Held;
pub use fleet::HolderReport;
pub use fleet::HoldersReport;
pub use fleet::Price;
pub use fleet::Questions;
pub use fleet::SharedBy;
pub use fleet::SharedReport;
pub use fleet::UniqueReport;
pub use fleet::fleet;
pub use import::ImportReport;
pub use import::ImportRequest;
pub use import::import;
pub use init::InitReport;
pub use init::InitRequest;
pub use init::init;
pub use inspect::ExtentBytes;
pub use inspect::Inspected;
pub use inspect::PackContent;
pub use inspect::ReadContent;
pub use inspect::inspect;
pub use join::JoinReport;
pub use join::JoinRequest;
pub use join::join;
pub use lint::LintReport;
pub use lint::LintRequest;
pub use lint::lint;
pub use list::ListReport;
pub use list::ListRequest;
pub use list::ListedAttribute;
pub use list::ListedFile;
pub use list::escaped;
pub use list::list;
pub use merge::MergeReport;
pub use merge::MergeRequest;
pub use merge::RebaseRequest;
pub use merge::merge;
pub use merge::rebase;
pub use pack::PackRequest;
pub use pack::pack;
pub use packages::PackageReport;
pub use packages::PackagesReport;
pub use packages::packages;
pub use page::PageOutput;
pub use part::PartRequest;
pub use part::Stores;
pub use part::part;
pub use plan::plan;
pub use plan::write_plan;
#[cfg(feature = "network")]
pub use publish::MAX_CONNECTIONS;
#[cfg(feature = "network")]
pub use publish::MadeImage;
#[cfg(feature = "network")]
pub use publish::MadeSnapshot;
#[cfg(feature = "network")]
pub use publish::ObjectsPlan;
#[cfg(feature = "network")]
pub use publish::PublishEvent;
#[cfg(feature = "network")]
pub use publish::PublishObjectsRequest;
#[cfg(feature = "network")]
pub use publish::PublishReport;
#[cfg(feature = "network")]
pub use publish::PublishRequest;
#[cfg(feature = "network")]
pub use publish::is_manifest;
#[cfg(feature = "network")]
pub use publish::plan_objects;
#[cfg(feature = "network")]
pub use publish::publish;
#[cfg(feature = "network")]
pub use publish::publish_objects;
pub use pull::PullReport;
pub use pull::PullRequest;
pub use pull::pull;
pub use push::PushReport;
pub use push::PushRequest;
pub use push::push;
pub use register::Document;
pub use register::RegisterReport;
pub use register::RegisterRequest;
pub use register::register;
pub use register::write_documents;
pub use shared::account::AwsRequest;
pub use shared::base::BaseRequest;
pub use shared::boot::BootReport;
pub use shared::boot::BootRequest;
pub use shared::boot::Processor;
pub use shared::case::read_ami;
pub use shared::description::with_defaults;
pub use shared::groups::Groups;
pub use shared::guest::InsideRequest;
pub use shared::guest_report::GuestReport;
pub use shared::guest_report::LoaderReport;
pub use shared::guest_report::OsReport;
pub use shared::guest_report::PartReport;
pub use shared::judging::Waived;
pub use shared::kinds::Own;
pub use shared::mapping::MappedVolume;
pub use shared::members::is_fleet;
pub use shared::network::DEFAULT_BLOBS_AT_ONCE;
pub use shared::network::NetworkOptions;
#[cfg(not(feature = "network"))]
pub use shared::network::missing;
pub use shared::open::Found;
pub use shared::open::OpenedVolume;
pub use shared::open::RandomVolume;
pub use shared::open::VolumeRequest;
pub use shared::open::find;
pub use shared::open::open;
pub use shared::open::open_in_order;
pub use shared::packing::PackOptions;
pub use shared::packing::PackReport;
pub use shared::packing::VolumeReport;
pub use shared::parts::BlockSpan;
pub use shared::parts::VolumePartReport;
pub use shared::planning::DEFAULT_CONNECTIONS;
pub use shared::planning::PlanReport;
#[cfg(feature = "network")]
pub use shared::publications::Publication;
#[cfg(feature = "network")]
pub use shared::publications::PublishedImage;
#[cfg(feature = "network")]
pub use shared::publications::PublishedSnapshot;
pub use shared::recipe::TemplateRequest;
pub use shared::report::SnapshotReport;
pub use shared::trust::TrustRequest;
pub use shared::trust::Voucher;
pub use shared::upload::BaseSnapshotRequest;
pub use shared::upload::PlanRequest;
pub use shared::verification::BlockRange;
pub use shared::verification::Damage;
pub use shared::verification::Difference;
pub use shared::verification::Missing;
pub use shared::verification::VerifyReport;
pub use sign::SignReport;
pub use sign::SignRequest;
pub use sign::sign;
pub use snapshot::SnapshotRequest;
pub use snapshot::snapshot;
pub use unpack::UnpackReport;
pub use unpack::UnpackRequest;
pub use unpack::unpack;
#[cfg(feature = "network")]
pub use unpublish::Fate;
#[cfg(feature = "network")]
pub use unpublish::Taken;
#[cfg(feature = "network")]
pub use unpublish::TakenBack;
#[cfg(feature = "network")]
pub use unpublish::UnpublishReport;
#[cfg(feature = "network")]
pub use unpublish::UnpublishRequest;
#[cfg(feature = "network")]
pub use unpublish::unpublish;
pub use usage::OwnedBytes;
pub use usage::OwnedPath;
pub use usage::UsageEntry;
pub use usage::UsageReport;
pub use usage::usage;
pub use verify::Against;
pub use verify::VerifyRequest;
pub use verify::verify;
pub use verify::verify_opened;
