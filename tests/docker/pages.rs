//! Code blocks of the pages for users. The language of a block's fence says what is done with it: see
//! `in_a_container/pages.rs`. A block that names none, or one that is not known, is a mistake.

use std::fs;
use std::path::Path;
use std::process::Command;

/// Pages of `docs` for those who change the project. All others are for users.
const FOR_CONTRIBUTORS: [&str; 6] = [
    "docs/ARCHITECTURE.md",
    "docs/PROTOCOL.md",
    "docs/SAFETY.md",
    "docs/fuzzing.md",
    "docs/performance.md",
    "docs/reliability.md",
];

/// What a block is written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Language {
    /// Commands, each with a prompt: `$`, or `#` for root.
    Console,
    /// httpd's configuration.
    Apache,
    /// A `pyproject.toml`.
    Toml,
    /// The `CMD` of a container.
    Dockerfile,
    /// What a program prints.
    Text,
}

/// A block of a page.
#[derive(Debug)]
pub struct Block {
    /// Page and line.
    pub place: String,
    pub language: Language,
    pub text: String,
}

impl Block {
    /// The commands of a block of them, and whether root gives each. Comments stay, as a shell knows them.
    pub fn commands(&self) -> impl Iterator<Item = (&str, bool)> {
        self.text.lines().map(|line| match line.split_at(2.min(line.len())) {
            ("$ ", command) => (command, false),
            ("# ", command) => (command, true),
            _ => panic!("{}: '{line}' does not begin with a prompt", self.place),
        })
    }
}

/// The pages for users, as paths from the root. What is in `conf` is a page that is one block.
pub fn pages() -> Vec<String> {
    let mut pages = vec!["README.md".to_owned()];
    pages.extend(files("docs").into_iter().filter(|page| page.ends_with(".md")));
    let examples = files("examples").into_iter().map(|folder| format!("{folder}/README.md"));
    pages.extend(examples.filter(|page| root().join(page).is_file()));
    pages.extend(files("conf"));
    pages.retain(|page| !FOR_CONTRIBUTORS.contains(&page.as_str()));
    pages
}

/// The blocks of a page.
pub fn blocks(page: &str) -> Vec<Block> {
    let text = fs::read_to_string(root().join(page)).expect("the page can be read");
    if page.starts_with("conf/") {
        return vec![Block { place: page.to_owned(), language: Language::Apache, text }];
    }
    let parsed = parse(page, &text);
    parsed.unwrap_or_else(|mistake| panic!("{mistake}"))
}

/// The root of the checkout.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// What is in a folder, as paths from the root.
fn files(folder: &str) -> Vec<String> {
    let entries = fs::read_dir(root().join(folder)).expect("the folder is ours");
    let names = entries.map(|entry| entry.expect("it can be read").file_name());
    let mut files: Vec<_> = names.map(|name| format!("{folder}/{}", name.display())).collect();
    files.sort();
    files
}

/// Reads the blocks of a page in Markdown, or says what is wrong and where.
fn parse(page: &str, text: &str) -> Result<Vec<Block>, String> {
    let mut blocks = Vec::new();
    let mut lines = text.lines().enumerate();
    let mut above = "";
    while let Some((number, line)) = lines.next() {
        let place = format!("{page}:{}", number + 1);
        let content = line.trim_start();
        let indent = line.len() - content.len();
        if let Some(name) = content.strip_prefix("```") {
            let language = match name {
                "console" => Language::Console,
                "apache" => Language::Apache,
                "toml" => Language::Toml,
                "dockerfile" => Language::Dockerfile,
                "text" => Language::Text,
                _ => return Err(format!("{place}: '{name}' is no language that a test runs")),
            };
            let body = lines.by_ref().map(|(_, line)| line);
            let body = body.take_while(|line| line.trim() != "```");
            let body: Vec<_> = body.map(|line| line.get(indent..).unwrap_or_default()).collect();
            blocks.push(Block { place, language, text: body.join("\n") + "\n" });
        } else if above.is_empty() && indent >= 4 && !content.is_empty() {
            return Err(format!("{place}: an indented block names no language: put it in a fence"));
        }
        above = content;
    }
    Ok(blocks)
}

/// Panics unless a command of `cargo xtask` is one that its help tells of, with these options.
#[track_caller]
pub fn assert_known_to_xtask(command: &str) {
    let help = Command::new(env!("CARGO")).arg("xtask").current_dir(root()).output();
    let help = String::from_utf8(help.expect("cargo can be run").stdout).expect("text");
    let command = command.split("  #").next().unwrap_or_default();
    let mut words = command.split_whitespace().skip(2);
    let Some(name) = words.next() else { return };
    let is_first = |line: &&str| line.starts_with("  ") && !line.starts_with("   ");
    let mut paragraph =
        help.lines().skip_while(|line| line.split_whitespace().next() != Some(name)).peekable();
    assert!(paragraph.peek().is_some_and(is_first), "{command}: not in\n{help}");
    let first = paragraph.next().into_iter();
    let told = first.chain(paragraph.take_while(|line| !is_first(line))).collect::<String>();
    for option in words.filter(|word| word.starts_with("--")) {
        assert!(told.contains(option), "{command}: {option} is not in '{told}'");
    }
}

#[test]
fn all_blocks_name_a_language_that_is_run() {
    let blocks: Vec<_> = pages().iter().flat_map(|page| blocks(page)).collect();
    assert!(blocks.len() > 10, "{blocks:?}");
    for block in blocks.iter().filter(|block| block.language == Language::Console) {
        for (command, _) in block.commands().filter(|(command, _)| command.starts_with("cargo ")) {
            assert_known_to_xtask(command);
        }
    }
}

#[test]
fn blocks_are_found_and_mistakes_named() {
    let page = "A\n\n```apache\n<If x>\n    A b\n\n</If>\n```\n\n1. list\n\n   ```console\n   # b  # c\n   ```\n";
    let found = parse("p", page).expect("it is right");
    let texts: Vec<_> = found.iter().map(|block| (block.place.as_str(), &*block.text)).collect();
    assert_eq!(texts, [("p:3", "<If x>\n    A b\n\n</If>\n"), ("p:12", "# b  # c\n")]);
    assert_eq!(found[1].commands().collect::<Vec<_>>(), [("b  # c", true)]);
    assert!(parse("p", "```\na\n```\n").expect_err("no language").contains("p:1: ''"));
    assert!(parse("p", "```fish\na\n```\n").is_err());
    assert!(parse("p", "A\n\n    a\n").expect_err("indented").contains("p:3"));
}
