//! The house style, as far as a machine can hold it: budgets, opening comments, names, and what product code never does.
//!
//! It reads the sources of every crate of the workspace. A finding names file and line. Budgets are raised here, in a
//! reviewed line, or not at all.

use std::{
    fs,
    path::{Path, PathBuf},
};

use syn::{spanned::Spanned, visit::Visit};

/// Lines of a file without its tests.
const FILE_LINES: usize = 400;
/// Lines of a function, signature included.
const FUNCTION_LINES: usize = 60;
/// Lines of a function that says `// long: why`.
const LONG_FUNCTION_LINES: usize = 100;
/// Arguments of a function, not counting `self`.
const ARGUMENTS: usize = 5;
/// Lines of a test module inside the file that it tests.
const INLINE_TEST_LINES: usize = 120;
/// Files that are tables of contents: they stay short enough to be read in one go.
const TABLES_OF_CONTENTS: [(&str, usize); 3] =
    [("proxy/src/inbound.rs", 160), ("proxy/src/outbound.rs", 160), ("proxy/src/policy.rs", 140)];
/// Names that say nothing about what is inside.
const EMPTY_NAMES: [&str; 7] = ["util", "utils", "common", "helper", "helpers", "misc", "mod"];
/// The crates of the workspace.
const CRATES: [&str; 6] = ["config", "proxy", "control-plane", "cli", "tests", "benches"];
/// Crates that answer for foreign bytes: they never unwrap.
const PRODUCT: [&str; 4] = ["config/src", "proxy/src", "control-plane/src", "cli/src"];

#[test]
fn the_sources_keep_the_house_style() {
    let root = root();
    let mut findings = Vec::new();
    let files: Vec<PathBuf> = CRATES.iter().flat_map(|name| rust_files(&root.join(name))).collect();
    assert!(files.len() > 20, "the sources are not where this test looks: {}", root.display());
    let sources: Vec<(String, String)> = files
        .iter()
        .map(|file| {
            let name = file.strip_prefix(&root).expect("found below the root").display().to_string();
            (name, fs::read_to_string(file).expect("a source file is readable"))
        })
        .collect();
    let tests: Vec<String> = sources.iter().flat_map(|(name, text)| test_modules(name, text)).collect();
    for (name, text) in &sources {
        let kind = if is_test_file(name) || tests.contains(name) { Kind::Test } else { Kind::Product };
        check_file(name, text, kind, &mut findings);
    }
    assert!(findings.is_empty(), "{} findings:\n{}", findings.len(), findings.join("\n"));
}

#[test]
fn the_documents_name_files_that_exist() {
    let root = root();
    let mut findings = Vec::new();
    let documents =
        fs::read_dir(root.join("docs")).map(|folder| folder.flatten().map(|entry| entry.path()).collect());
    let mut documents: Vec<PathBuf> = documents.unwrap_or_default();
    documents.push(root.join("README.md"));
    for document in documents.iter().filter(|path| path.extension().is_some_and(|end| end == "md")) {
        let text = fs::read_to_string(document).unwrap_or_default();
        for (number, line) in text.lines().enumerate() {
            for quoted in line.split('`').skip(1).step_by(2).filter(|quoted| names_a_file(quoted)) {
                if !exists_somewhere(&root, quoted) {
                    findings.push(format!("{}:{}: no file `{quoted}`", document.display(), number + 1));
                }
            }
        }
    }
    assert!(findings.is_empty(), "{}", findings.join("\n"));
}

/// Whether a quoted word is the name of a source or policy file, without a placeholder in it.
fn names_a_file(quoted: &str) -> bool {
    let known =
        [".rs", ".toml", ".md"].iter().any(|end| quoted.ends_with(end)) || quoted.starts_with("examples/");
    known && !quoted.contains([' ', '*', '<', '{'])
}

fn exists_somewhere(root: &Path, name: &str) -> bool {
    let sources = CRATES.iter().map(|krate| root.join(krate).join("src"));
    let crates = CRATES.iter().map(|krate| root.join(krate));
    [root.to_path_buf(), root.join("docs")]
        .into_iter()
        .chain(sources)
        .chain(crates)
        .any(|base| base.join(name).exists())
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("this crate stands in the workspace").to_path_buf()
}

fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() && !path.ends_with("target") {
            found.extend(rust_files(&path));
        } else if path.extension().is_some_and(|end| end == "rs") {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// Which rules hold for a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Product,
    Test,
}

/// The files of modules that a file declares for tests alone.
fn test_modules(name: &str, text: &str) -> Vec<String> {
    let Ok(tree) = syn::parse_file(text) else { return Vec::new() };
    let path = Path::new(name);
    let folder = match path.file_stem().and_then(|stem| stem.to_str()) {
        Some("lib" | "main") | None => path.parent().unwrap_or(path).to_path_buf(),
        Some(_) => path.with_extension(""),
    };
    let declared = tree.items.iter().filter_map(|item| match item {
        syn::Item::Mod(module) if module.content.is_none() && is_for_tests(&module.attrs) => {
            Some(&module.ident)
        }
        _ => None,
    });
    declared.map(|module| folder.join(format!("{module}.rs")).display().to_string()).collect()
}

fn check_file(name: &str, text: &str, kind: Kind, findings: &mut Vec<String>) {
    let mut find = |line: usize, what: String| findings.push(format!("{name}:{line}: {what}"));
    if !text.starts_with("//!") {
        find(1, "does not open with `//!`: what it owns, why, what it must not do".into());
    }
    for part in Path::new(name).iter().filter_map(|part| part.to_str()) {
        if EMPTY_NAMES.contains(&part.trim_end_matches(".rs")) {
            find(1, format!("`{part}` names nothing"));
        }
    }
    let tree = match syn::parse_file(text) {
        Ok(tree) => tree,
        Err(error) => return find(error.span().start().line, format!("not Rust: {error}")),
    };
    let is_test = kind == Kind::Test;
    let mut reader = Reader { lines: text.lines().collect(), product: is_product(name), ..Reader::default() };
    if !is_test {
        reader.visit_file(&tree);
    }
    let budget =
        TABLES_OF_CONTENTS.iter().find(|(file, _)| *file == name).map_or(FILE_LINES, |(_, lines)| *lines);
    let lines = reader.lines.len() - reader.test_lines;
    if !is_test && lines > budget {
        find(1, format!("{lines} lines without tests, the budget is {budget}"));
    }
    for (line, what) in reader.findings {
        find(line, what);
    }
    for (number, line) in text.lines().enumerate() {
        if is_test && line.contains("sleep(") && !text.contains("start_paused") && !name.ends_with("tidy.rs")
        {
            find(number + 1, "a test that sleeps: await a condition with a bound, or pause the time".into());
        }
    }
}

fn is_test_file(name: &str) -> bool {
    let in_tests = CRATES.iter().any(|krate| name.starts_with(&format!("{krate}/tests/")));
    in_tests || name.ends_with("/tests.rs") || name.contains("/tests/")
}

fn is_product(name: &str) -> bool {
    PRODUCT.iter().any(|folder| name.starts_with(folder))
}

/// Walks one file, stepping over its test modules.
#[derive(Default)]
struct Reader<'a> {
    lines: Vec<&'a str>,
    product: bool,
    test_lines: usize,
    findings: Vec<(usize, String)>,
}

impl Reader<'_> {
    fn function(&mut self, signature: &syn::Signature, whole: proc_macro2::Span) {
        let (start, end) = (signature.span().start().line, whole.end().line);
        let lines = end + 1 - start;
        // The comment may stand above the attributes and documentation, or anywhere inside.
        let above = start.saturating_sub(12);
        let says_why = self.lines[above..end].iter().any(|line| line.trim_start().starts_with("// long: "));
        let budget = if says_why { LONG_FUNCTION_LINES } else { FUNCTION_LINES };
        if lines > budget {
            self.findings
                .push((start, format!("`{}` has {lines} lines, the budget is {budget}", signature.ident)));
        }
        let arguments = signature.inputs.iter().filter(|input| matches!(input, syn::FnArg::Typed(_))).count();
        if arguments > ARGUMENTS {
            self.findings.push((start, format!("`{}` has {arguments} arguments", signature.ident)));
        }
    }
}

impl<'ast> Visit<'ast> for Reader<'_> {
    fn visit_item_mod(&mut self, module: &'ast syn::ItemMod) {
        if EMPTY_NAMES.contains(&module.ident.to_string().as_str()) {
            self.findings.push((module.span().start().line, format!("`mod {}` names nothing", module.ident)));
        }
        if !is_for_tests(&module.attrs) {
            return syn::visit::visit_item_mod(self, module);
        }
        let lines = module.span().end().line + 1 - module.span().start().line;
        self.test_lines += lines;
        if lines > INLINE_TEST_LINES {
            let what = format!(
                "{lines} lines of tests inside the file, over {INLINE_TEST_LINES} they get their own"
            );
            self.findings.push((module.span().start().line, what));
        }
    }

    fn visit_item_fn(&mut self, function: &'ast syn::ItemFn) {
        if !is_for_tests(&function.attrs) {
            self.function(&function.sig, function.span());
            syn::visit::visit_item_fn(self, function);
        }
    }

    fn visit_impl_item_fn(&mut self, function: &'ast syn::ImplItemFn) {
        if !is_for_tests(&function.attrs) {
            self.function(&function.sig, function.span());
            syn::visit::visit_impl_item_fn(self, function);
        }
    }

    fn visit_trait_item_fn(&mut self, function: &'ast syn::TraitItemFn) {
        self.function(&function.sig, function.span());
        syn::visit::visit_trait_item_fn(self, function);
    }

    fn visit_macro(&mut self, call: &'ast syn::Macro) {
        if ["todo", "unimplemented", "dbg"].iter().any(|name| call.path.is_ident(name)) {
            self.findings.push((call.span().start().line, "left unfinished".into()));
        }
        syn::visit::visit_macro(self, call);
    }

    fn visit_expr_method_call(&mut self, call: &'ast syn::ExprMethodCall) {
        if self.product && call.method == "unwrap" {
            let what = "unwrap in product code: handle it, or `expect` and state the invariant".into();
            self.findings.push((call.method.span().start().line, what));
        }
        syn::visit::visit_expr_method_call(self, call);
    }
}

/// `#[cfg(test)]` or a test attribute.
fn is_for_tests(attributes: &[syn::Attribute]) -> bool {
    attributes.iter().any(|attribute| match &attribute.meta {
        syn::Meta::List(list) => list.path.is_ident("cfg") && list.tokens.to_string().contains("test"),
        syn::Meta::Path(path) => path.segments.last().is_some_and(|last| last.ident == "test"),
        syn::Meta::NameValue(_) => false,
    })
}

#[cfg(test)]
mod tests {
    use super::{Kind, check_file, is_test_file, test_modules};

    fn findings(name: &str, text: &str) -> Vec<String> {
        let mut findings = Vec::new();
        let kind = if is_test_file(name) { Kind::Test } else { Kind::Product };
        check_file(name, text, kind, &mut findings);
        findings
    }

    #[test]
    fn each_rule_bites() {
        let long = format!("//! x\nfn f() {{\n{}}}\n", "    g();\n".repeat(60));
        let arguments = "//! x\nfn f(a: u8, b: u8, c: u8, d: u8, e: u8, f: u8) {}\n";
        let unfinished = ["//! x\nfn f() { ", "todo", "!() }\n"].concat();
        let inline =
            format!("//! x\n#[cfg(test)]\nmod tests {{\n{}}}\n", "    const A: u8 = 0;\n".repeat(130));
        for (name, text, expected) in [
            ("proxy/src/a.rs", "fn f() {}\n", "does not open"),
            ("proxy/src/utils.rs", "//! x\n", "names nothing"),
            ("proxy/src/a/mod.rs", "//! x\n", "names nothing"),
            ("proxy/src/a.rs", &long, "`f` has 62 lines"),
            ("proxy/src/a.rs", arguments, "6 arguments"),
            ("proxy/src/a.rs", &unfinished, "left unfinished"),
            ("proxy/src/a.rs", &inline, "lines of tests"),
            ("proxy/src/a.rs", &format!("//! x\n{}", "\n".repeat(400)), "401 lines"),
            ("proxy/src/inbound.rs", &format!("//! x\n{}", "\n".repeat(160)), "the budget is 160"),
            ("proxy/src/a.rs", "//! x\nfn f() { g().unwrap(); }\n", "unwrap in product"),
            ("tests/tests/a.rs", "//! x\nfn f() { sleep(1); }\n", "sleeps"),
        ] {
            let found = findings(name, text);
            assert!(found.len() == 1 && found[0].contains(expected), "{expected}: {found:?}");
        }
    }

    #[test]
    fn a_module_for_tests_is_a_test_file() {
        let text = "//! x\n#[cfg(test)]\nmod fixture;\nmod product;\n";
        assert_eq!(test_modules("proxy/src/runtime.rs", text), ["proxy/src/runtime/fixture.rs"]);
        assert_eq!(test_modules("proxy/src/lib.rs", text), ["proxy/src/fixture.rs"]);
    }

    #[test]
    fn what_is_in_order_passes() {
        let long = format!("//! x\n// long: a table of cases\nfn f() {{\n{}}}\n", "    g();\n".repeat(70));
        assert_eq!(findings("proxy/src/a.rs", &long), Vec::<String>::new());
        let tests = "//! x\n#[cfg(test)]\nmod tests {\n    fn f() { g().unwrap(); }\n}\n";
        assert_eq!(findings("proxy/src/a.rs", tests), Vec::<String>::new());
    }
}
