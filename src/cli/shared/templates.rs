//! Values of a recipe's templates.

use clap::Args;

use crate::ops::TemplateRequest;

/// Values of a recipe's templates.
#[derive(Clone, Debug, Args)]
pub(in crate::cli) struct TemplateArgs {
    /// The value of a template, as in `{channel}`
    #[arg(long, value_name = "NAME=VALUE", value_parser = parse_value)]
    set: Vec<(String, String)>,

    /// Set `{date}` to today's date in UTC, or to the day of `SOURCE_DATE_EPOCH`
    #[arg(long)]
    date: bool,

    /// Set `{git}` to the commit of the recipe's folder
    #[arg(long)]
    git: bool,
}

impl TemplateArgs {
    pub(in crate::cli) fn request(&self) -> TemplateRequest {
        TemplateRequest { set: self.set.clone(), date: self.date, git: self.git }
    }
}

fn parse_value(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("expected a name, = and a value, as in date=2026-11-24".to_owned()),
    }
}
