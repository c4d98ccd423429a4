//! Keeps the worst patterns of translated English out of what users read: README, the documents, the help,
//! and the sentences of the program.

use std::fs;
use std::path::Path;
use std::path::PathBuf;

/// What is refused, in lower case and between blanks, and what to write instead.
const PATTERNS: &[(&str, &str)] = &[
    (" lean on ", "depend on"),
    (" leans on ", "depends on, was packed against"),
    (" leaning on ", "depending on"),
    (" is told by ", "is detected by"),
    (" are told by ", "are detected by"),
    (" somebody ", "name the actor, or use the passive"),
    (" whoever ", "the caller, the reader, a program that"),
    (" come to its end", "was interrupted, completed"),
    (" to its end ", "completed"),
    (" goes past ", "bypasses, moves on"),
    (" all is well", "success, intact"),
    (" as you like", "at your option"),
    (" text for people", "human-readable description"),
    (" nothing sound ", "no false positives"),
    (" anew ", "again, rebuilt"),
    (" held against ", "compared with"),
    (" of before ", "before, earlier"),
    (" says no format", "cannot infer the format from the name"),
];

/// Words before "is no X" where that is plain English.
const PLAIN: &[&str] = &["there", "answer"];

fn files(folder: &Path, suffix: &str, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(&path, suffix, found);
        } else if path.to_str().unwrap().ends_with(suffix) {
            found.push(path);
        }
    }
}

/// Joins the lines, and makes one blank of whatever is between words.
fn flat(text: &str) -> String {
    let words: Vec<_> = text
        .split(|c: char| c.is_whitespace() || "\"'`*()|,.;:?!".contains(c))
        .filter(|word| !word.is_empty())
        .map(str::to_lowercase)
        .collect();
    format!(" {} ", words.join(" "))
}

/// Finds "is no X" and the like; "there is no X", "the answer is no" and "is no longer" are plain English.
fn is_no(text: &str) -> Vec<String> {
    let words: Vec<_> = text.split(' ').collect();
    let pairs = words.windows(4).filter(|words| {
        matches!(words[1], "is" | "are" | "was" | "were")
            && words[2] == "no"
            && words[3] != "longer"
            && !PLAIN.contains(&words[0])
    });
    pairs.map(|words| words.join(" ")).collect()
}

fn look(place: &str, text: &str, wrong: &mut Vec<String>) {
    let text = flat(text);
    for (pattern, instead) in PATTERNS {
        if text.contains(pattern) {
            wrong.push(format!("{place}: {:?}, write {instead:?}", pattern.trim()));
        }
    }
    for words in is_no(&text) {
        wrong.push(format!("{place}: {words:?}, write \"is not a ...\""));
    }
}

/// Returns the documentation comments and string literals of a source, without its unit tests.
fn sentences(source: &str) -> Vec<String> {
    let source = source.split("#[cfg(test)]").next().unwrap();
    let (mut found, mut comment, mut code) = (Vec::new(), String::new(), String::new());
    for line in source.lines().map(str::trim_start) {
        if let Some(text) = line.strip_prefix("//") {
            if let Some(text) = text.strip_prefix(['/', '!']) {
                comment.push_str(text);
            }
            comment.push('\n');
        } else {
            found.push(std::mem::take(&mut comment));
            code.push_str(line.strip_suffix('\\').unwrap_or(line));
            code.push_str(if line.ends_with('\\') { "" } else { "\n" });
        }
    }
    // Every other piece between quotation marks is a literal; an escaped mark only splits one.
    let code = code.replace("\\\"", "'").replace("'\"'", "''");
    found.extend(code.split('"').skip(1).step_by(2).map(str::to_owned));
    found
}

fn wrong_in(paths: &[PathBuf], parts: fn(&str) -> Vec<String>) -> Vec<String> {
    let mut wrong = Vec::new();
    for path in paths {
        let text = fs::read_to_string(path).unwrap();
        for part in parts(&text) {
            look(&path.display().to_string(), &part, &mut wrong);
        }
    }
    wrong
}

#[test]
fn documents_read_as_a_native_engineer_writes() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut paths = vec![root.join("README.md"), root.join("CONTRIBUTING.md")];
    files(&root.join("docs"), ".md", &mut paths);
    let wrong = wrong_in(&paths, |text| vec![text.to_owned()]);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn help_and_sentences_read_as_a_native_engineer_writes() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut paths = Vec::new();
    files(&root, ".rs", &mut paths);
    paths.retain(|path| !path.ends_with("tests.rs"));
    let mut wrong = wrong_in(&paths, sentences);
    let mut texts = Vec::new();
    files(&root, ".json", &mut texts);
    files(&root, ".toml", &mut texts);
    wrong.extend(wrong_in(&texts, |text| vec![text.to_owned()]));
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn each_pattern_is_found_and_plain_english_is_not() {
    for (pattern, _) in PATTERNS {
        let mut wrong = Vec::new();
        look("", &format!("a{pattern}b"), &mut wrong);
        assert!(!wrong.is_empty(), "{pattern}");
    }
    for (text, count) in [
        ("It is no image", 1),
        ("they\nare no images", 1),
        ("there is no image", 0),
        ("it is no longer there", 0),
    ] {
        let mut wrong = Vec::new();
        look("", text, &mut wrong);
        assert_eq!(wrong.len(), count, "{text}: {wrong:?}");
    }
    let source = "/// Text for people\nfn f() { g(\"it leans on \\\n  it\"); } // whoever\n";
    let found: Vec<_> = sentences(source).iter().map(|text| flat(text)).collect();
    assert_eq!(
        found.concat().split_whitespace().collect::<Vec<_>>().join(" "),
        "text for people it leans on it"
    );
}
