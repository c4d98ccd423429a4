//! Findings in the Static Analysis Results Interchange Format, SARIF 2.1.0 (OASIS), which CI systems show beside
//! a change.

use serde_json::Value;
use serde_json::json;

use crate::cli::shared::plan_text::fix;
use crate::error::shown;
use crate::lint::Finding;
use crate::lint::Level;
use crate::lint::RULES;
use crate::lint::Rule;
use crate::ops::LintReport;
use crate::ops::Waived;

/// Makes the document: all rules that there are, and a result for each finding; waived ones are suppressed.
pub(in crate::cli) fn document(report: &LintReport) -> Value {
    let rules: Vec<Value> = RULES.iter().map(|rule| self::rule(rule, report)).collect();
    let uri = uri(&shown(&report.path));
    let found = report.findings.iter().map(|finding| result(finding, &uri, None));
    let waived = report.waived.iter().map(|it| result(&it.finding, &uri, Some(it)));
    let results: Vec<Value> = found.chain(waived).collect();
    let notes: Vec<Value> = report
        .notes
        .iter()
        .map(|note| json!({ "level": "note", "message": { "text": note } }))
        .collect();
    json!({
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{
            "tool": { "driver": {
                "name": "amikit",
                "semanticVersion": env!("CARGO_PKG_VERSION"),
                "rules": rules,
            }},
            "invocations": [{
                "executionSuccessful": true,
                "toolExecutionNotifications": notes,
            }],
            "results": results,
        }],
    })
}

fn rule(rule: &Rule, report: &LintReport) -> Value {
    let mut help = format!("Source: {}.", rule.source);
    if !rule.fix.is_empty() {
        help = format!("{help} Fix: {}", fix(rule.fix));
    }
    json!({
        "id": rule.id,
        "shortDescription": { "text": rule.text },
        "fullDescription": { "text": format!("{}.", rule.text) },
        "help": { "text": help },
        "defaultConfiguration": { "level": level(rule.level_for(report.audience)) },
        "properties": { "topic": rule.topic.name(), "evidence": rule.evidence.name() },
    })
}

fn level(level: Level) -> &'static str {
    level.name()
}

fn result(finding: &Finding, uri: &str, waived: Option<&Waived>) -> Value {
    let index = RULES.iter().position(|rule| rule.id == finding.rule);
    let text = format!("{}: {}; expected {}", finding.place, finding.found, finding.instead);
    let mut result = json!({
        "ruleId": finding.rule,
        "ruleIndex": index,
        "level": level(finding.level),
        "message": { "text": text },
        "locations": [{
            "physicalLocation": { "artifactLocation": { "uri": uri } },
            "logicalLocations": [{ "fullyQualifiedName": finding.place }],
        }],
    });
    if let Some(Waived { reason, until, .. }) = waived {
        let justification = format!("{reason} (until {until})");
        result["suppressions"] = json!([{ "kind": "external", "justification": justification }]);
    }
    result
}

/// Returns a path as a relative reference of a URI.
fn uri(path: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~/@".contains(&byte);
    path.bytes().fold(String::new(), |text, byte| {
        if plain(byte) {
            format!("{text}{}", char::from(byte))
        } else {
            format!("{text}%{byte:02X}")
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_plain_in_a_path_is_escaped() {
        assert_eq!(uri("a b/c:d.ami"), "a%20b/c%3Ad.ami");
    }
}
