//! The JSON Schemas that `schema` prints: `docs/schemas`, and that of recipes.

use crate::recipe::SCHEMA;

/// Lists names and texts.
macro_rules! schemas {
    ($($name:literal)*) => {
        &[
            ("recipe", SCHEMA),
            $(($name, include_str!(concat!("../../../docs/schemas/", $name, ".v1.json"))),)*
        ]
    };
}

/// Each schema by its name.
pub(in crate::cli) const SCHEMAS: &[(&str, &str)] = schemas! {
    "apply"
    "bench"
    "boot"
    "build"
    "churn"
    "compare"
    "complete"
    "convert"
    "diff"
    "diff-files"
    "doctor"
    "error"
    "export"
    "fleet"
    "fetch"
    "import"
    "init"
    "inspect"
    "instance-store-bundle"
    "instance-store-inspect"
    "instance-store-unbundle"
    "instance-store-verify"
    "join"
    "lint"
    "ls"
    "man"
    "map"
    "merge"
    "note"
    "pack"
    "packages"
    "part"
    "plan"
    "plan-totals"
    "pull"
    "push"
    "publish"
    "rebase"
    "register"
    "register-files"
    "report"
    "retry"
    "rules"
    "serve-aws"
    "serve-nbd"
    "sign"
    "snapshot"
    "store-add"
    "store-copy"
    "store-gc"
    "store-init"
    "store-list"
    "store-remove"
    "store-show"
    "store-verify"
    "unpack"
    "unpublish"
    "verify"
};
