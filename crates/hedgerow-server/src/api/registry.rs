//! The models that are served, by the names that clients use.

use std::sync::OnceLock;

use hedgerow_core::quantization::PrecisionIndex;
use hedgerow_node::catalogue::Entry;
use hedgerow_node::chat_template::ChatTemplate;
use hedgerow_node::kernels::Chosen;
use hedgerow_node::node::Node;

use super::ApiError;

/// The served models. There is one, which is registered once it is loaded.
#[derive(Default)]
pub(super) struct ModelRegistry(OnceLock<ServedModel>);

/// A model that is loaded, and the node that runs it.
pub(crate) struct ServedModel {
    /// The node.
    pub(crate) node: Node,
    /// The model name that clients use.
    pub(crate) name: String,
    /// The chat template, or the reason why there is none.
    pub(crate) template: Result<ChatTemplate, String>,
    /// The kernels chosen for each precision, with the reason.
    pub(crate) kernels: Vec<(String, Chosen)>,
    /// What the catalogue says about the model, once it has been brought up to date.
    pub(crate) catalogue: OnceLock<Entry>,
}

impl ModelRegistry {
    /// Adds the model.
    ///
    /// # Panics
    ///
    /// When there is one already.
    pub(super) fn register(&self, served: ServedModel) {
        assert!(self.0.set(served).is_ok(), "a server is made ready once");
    }

    /// The model; `None` until it is loaded.
    pub(super) fn loaded(&self) -> Option<&ServedModel> {
        self.0.get()
    }
}

impl ServedModel {
    /// The model names that clients may use: the plain name, and one name pinned to each precision.
    pub(super) fn names(&self) -> Vec<String> {
        let pinned =
            self.node.precisions().iter().map(|precision| format!("{}:{}", self.name, precision.name));
        std::iter::once(self.name.clone()).chain(pinned).collect()
    }

    /// The precision to which a model name is pinned; `None` if the name, or the lack of one, allows any.
    ///
    /// # Errors
    ///
    /// When no model has this name.
    pub(super) fn precision_of(&self, name: Option<&str>) -> Result<Option<PrecisionIndex>, ApiError> {
        let Some(name) = name else { return Ok(None) };
        let names = self.names();
        let place = names.iter().position(|known| known == name);
        let place = place.ok_or_else(|| ApiError::no_such_model(name, &names))?;
        // The plain model name is first, followed by one name per precision.
        Ok(place.checked_sub(1).map(PrecisionIndex))
    }
}
